#include "ops/finish.h"

#include <algorithm>
#include <cmath>

namespace pcqat {

Finish make_finish(Activation activation, const NudgedRange* range) {
  Finish finish{activation_low(activation), activation_high(activation), false, 0, 1, 0};
  if (range == nullptr) return finish;
  finish.quantize = true;
  finish.min = range->min;
  finish.scale = range->scale;
  finish.zero_code = range->zero_code;
  if (range->is_nan) {
    finish.min = std::numeric_limits<float>::quiet_NaN();
    return finish;
  }
  finish.low = std::max(finish.low, range->min);
  finish.high = std::min(finish.high, range->max);
  return finish;
}

PassInterval make_pass_interval(Activation activation, const NudgedRange* range) {
  // Denormals count as zero in the kernels, so FLT_MIN is the least value above zero.
  PassInterval pass{activation == Activation::none ? -kInfinity : FLT_MIN,
                    activation == Activation::relu6 ? std::nextafter(6.0f, 0.0f) : kInfinity};
  if (range == nullptr || range->is_zero) return pass;
  if (range->is_nan) return {kInfinity, -kInfinity};
  return {std::max(pass.low, range->min), std::min(pass.high, range->max)};
}

bool prepare_range(const ActivationQuant& quant, float low, float high, NudgedRange* range) {
  if (quant.min == nullptr) return false;
  if (quant.mode == QuantMode::observe) {
    if (quant.reset) *quant.min = *quant.max = 0;
    RangeRule widen = quant.rule;
    widen.update = RangeUpdate::running_min_max;
    update_range(widen, low, high, quant.min, quant.max);
    return false;
  }
  if (quant.mode == QuantMode::update) update_range(quant.rule, low, high, quant.min, quant.max);
  *range = nudge_range(*quant.min, *quant.max, quant.rule.bits, quant.rule.narrow_range);
  return true;
}

}  // namespace pcqat
