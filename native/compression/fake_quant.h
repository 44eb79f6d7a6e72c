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

enum class RangeUpdate { none, last_value, moving_average, running_min_max };

// How a range follows the values that it quantizes (spec 3.4).
struct RangeRule {
  RangeUpdate update = RangeUpdate::none;
  bool symmetric = false;
  bool narrow_range = false;
  int bits = 8;
  float one_minus_decay = 0.001f;  // f32(1 - decay), the difference taken in double
};

// Moves *min and *max by the extremes of the values.
void update_range(const RangeRule& rule, float lowest, float highest, float* min, float* max);

}  // namespace pcqat
