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

void update_range(const RangeRule& rule, float lowest, float highest, float* min, float* max) {
  float low = std::min(lowest, 0.0f), high = std::max(highest, 0.0f);
  if (rule.symmetric) {
    const float levels = static_cast<float>(1 << rule.bits);
    const float ratio = rule.narrow_range ? -1.0f : -(levels - 2) / levels;
    const float highest_before = high;
    // Running extremes take the maximum from the minimum just found; it makes a difference only in rounding.
    high = std::max(high, (rule.update == RangeUpdate::running_min_max ? std::min(low, high / ratio) : low) * ratio);
    low = std::min(low, highest_before / ratio);
  }
  low += 0.0f;  // no -0
  switch (rule.update) {
    case RangeUpdate::none: return;
    case RangeUpdate::last_value:
      *min = low;
      *max = high;
      return;
    case RangeUpdate::moving_average:
      *min = *min - (*min - low) * rule.one_minus_decay;
      *max = *max - (*max - high) * rule.one_minus_decay;
      return;
    case RangeUpdate::running_min_max:
      *min = std::min(*min, low);
      *max = std::max(*max, high);
      return;
  }
}

}  // namespace pcqat
