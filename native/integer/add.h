// The arithmetic of ADD: both operands are scaled to a common fixed-point scale with 20 extra bits, added, and scaled to the output.
#pragma once

#include <algorithm>

#include "integer/rounding.h"

namespace pcqat::integer {

struct AddScales {
  FixedPoint operands[2];
  FixedPoint output;

  // Of codes minus their zero points.
  int32_t operator()(int32_t a, int32_t b) const { return multiply_twice_rounded(scaled(a, operands[0]) + scaled(b, operands[1]), output); }

 private:
  static constexpr int kExtraBits = 20;
  static int32_t scaled(int32_t value, FixedPoint multiplier) { return multiply_twice_rounded(value * (1 << kExtraBits), multiplier); }
  friend bool make_add_scales(float a, float b, float output, AddScales& scales);
};

// False for an output scale so much smaller than the inputs' that the arithmetic does not carry it.
inline bool make_add_scales(float a, float b, float output, AddScales& scales) {
  const double twice_largest = 2.0 * std::max(a, b);
  const double output_multiplier = twice_largest / ((1 << AddScales::kExtraBits) * static_cast<double>(output));
  if (!(output_multiplier < 1)) return false;
  scales = {{to_fixed_point(a / twice_largest), to_fixed_point(b / twice_largest)}, to_fixed_point(output_multiplier)};
  return true;
}

}  // namespace pcqat::integer
