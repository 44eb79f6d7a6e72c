// The arithmetic of TFLite's HARD_SWISH, in 16 bits.
#pragma once

#include <algorithm>
#include <cstdint>

#include "integer/rounding.h"

namespace pcqat::integer {

inline int32_t saturate16(int64_t value) { return static_cast<int32_t>(std::clamp<int64_t>(value, INT16_MIN, INT16_MAX)); }
inline int32_t high_multiply16(int32_t x, int32_t multiplier) { return (x * multiplier + (1 << 14)) >> 15; }
// Saturates long before 16 bits have been shifted, so larger shifts need not be carried out.
inline int32_t saturating_shift16(int32_t x, int amount) {
  return saturate16(static_cast<int64_t>(x) * (int64_t{1} << std::min(amount, 16)));
}

struct FixedPoint16 {
  int32_t multiplier = 0;
  int shift = 0;
};

inline FixedPoint16 to_fixed_point16(float real) {
  const FixedPoint m = to_fixed_point(real);
  return {static_cast<int32_t>(std::min<int64_t>((static_cast<int64_t>(m.multiplier) + (1 << 15)) >> 16, INT16_MAX)), m.shift};
}

// x · relu6(x + 3) / 6 with 16-bit products: x with 7 more bits, times a factor that runs from 0 to 1 while x runs from −3 to 3.
struct HardSwish {
  FixedPoint16 output, factor;

  // From a code minus its zero point to one.
  int32_t operator()(int32_t value) const {
    const int32_t x = value * 128;
    const int32_t unshifted = high_multiply16(x, output.multiplier);
    // The last bit of a left shift comes after the multiplication, so that saturation before it is overwritten.
    int32_t f = factor.shift > 0 ? saturating_shift16(x, factor.shift - 1) : x;
    f = high_multiply16(f, factor.multiplier);
    if (factor.shift > 0) f = saturating_shift16(f, 1);
    if (factor.shift < 0) f = rounding_shift(f, -factor.shift);
    f = (f + (1 << 15)) >> 1;
    const int32_t product = f * unshifted / (1 << 15);  // toward zero, which cancels the bias of the roundings above
    return rounding_shift(product, -output.shift);
  }
};

// False for scales that the arithmetic does not carry: an output scale so much smaller than the input's, a huge input scale.
inline bool make_hard_swish(float input_scale, float output_scale, HardSwish& kernel) {
  const float scale = input_scale * (1.0f / 128);
  const float rescale = scale / output_scale, stretch = scale / (3.0f / 32768);
  if (!(stretch < 1 << 30) || !(rescale < 1)) return false;
  kernel.output = to_fixed_point16(rescale), kernel.factor = to_fixed_point16(stretch);
  return kernel.output.shift <= 0;
}

}  // namespace pcqat::integer
