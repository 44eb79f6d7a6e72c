// Fake quantization as TensorFlow computes it (spec 3.5): the nudged range and the element rule.
#pragma once

#include <cstdint>

namespace pcqat {

// A range after nudging, so that zero is exactly representable. All values are f32 and rounded as in the reference.
struct NudgedRange {
  float min = 0, max = 0;  // nmin, nmax
  float scale = 0, inverse_scale = 0;
  float zero_code = 0;   // q0
  bool is_zero = false;  // min == max == 0: y = 0 and the gradient passes everywhere
  bool is_nan = false;   // a NaN or infinite range: y = NaN
};

NudgedRange nudge_range(float min, float max, int bits, bool narrow_range);

enum class RangeUpdate { none, moving_average, running_min_max };

// Asymmetric activation range (spec 3.4): moves *min and *max by the batch's extremes.
// `one_minus_decay` is f32(1 - decay), the difference taken in double.
void update_range(RangeUpdate update, float batch_min, float batch_max, float one_minus_decay, float* min, float* max);

}  // namespace pcqat
