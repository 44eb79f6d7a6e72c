#include "compression/fake_quant.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace pcqat {

namespace {

// TensorFlow runs with denormals flushed to zero, so a range of denormals is the zero range.
bool counts_as_zero(float value) { return std::fabs(value) < FLT_MIN; }

}  // namespace

NudgedRange nudge_range(float min, float max, int bits, bool narrow_range) {
  NudgedRange range;
  if (!std::isfinite(min) || !std::isfinite(max)) {
    range.is_nan = true;
    return range;
  }
  if (counts_as_zero(min) && counts_as_zero(max)) {
    range.is_zero = true;
    return range;
  }
  const float code_min = narrow_range ? 1.0f : 0.0f;
  const float code_max = static_cast<float>((1 << bits) - 1);
  range.scale = (max - min) / (code_max - code_min);
  range.inverse_scale = (code_max - code_min) / (max - min);
  const float exact_zero = code_min - min / range.scale;
  float zero = 0;
  if (exact_zero < code_min)
    zero = code_min;
  else if (exact_zero > code_max)
    zero = code_max;
  else
    zero = std::round(exact_zero);
  range.min = (code_min - zero) * range.scale;
  range.max = (code_max - zero) * range.scale;
  range.zero_code = std::floor(-range.min * range.inverse_scale + 0.5f);
  return range;
}

void update_range(RangeUpdate update, float batch_min, float batch_max, float one_minus_decay, float* min, float* max) {
  const float low = std::min(batch_min, 0.0f), high = std::max(batch_max, 0.0f);
  switch (update) {
    case RangeUpdate::none: return;
    case RangeUpdate::moving_average:
      *min = *min - (*min - low) * one_minus_decay;
      *max = *max - (*max - high) * one_minus_decay;
      return;
    case RangeUpdate::running_min_max:
      *min = std::min(*min, low);
      *max = std::max(*max, high);
      return;
  }
}

}  // namespace pcqat
