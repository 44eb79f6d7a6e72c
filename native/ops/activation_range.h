#pragma once

#include "ops/scalar.h"

namespace pcqat {

inline void quantize_in_place(int64_t count, float* y, const ActivationQuant& q, NudgedRange* range) {
  if (!q.min) return;
  if (q.mode != QuantMode::frozen && count > 0) {
    float low = y[0], high = y[0];
    for (int64_t i = 0; i < count; ++i) {
      low = y[i] < low ? y[i] : low;
      high = y[i] > high ? y[i] : high;
    }
    if (q.mode == QuantMode::observe) {
      if (q.reset) *q.min = *q.max = 0;
      update_range(RangeUpdate::running_min_max, low, high, q.one_minus_decay, q.min, q.max);
      return;
    }
    update_range(q.update, low, high, q.one_minus_decay, q.min, q.max);
  }
  *range = nudge_range(*q.min, *q.max, q.bits, q.narrow_range);
  for (int64_t i = 0; i < count; ++i) y[i] = quantize(y[i], *range);
}

}  // namespace pcqat
