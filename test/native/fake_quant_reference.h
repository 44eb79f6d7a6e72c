// Spec 3.5, element by element, each operation rounded to f32.
#pragma once

#include <cmath>
#include <limits>

#include "compression/fake_quant.h"

namespace pcqat::test {

inline float quantize_reference(float v, const NudgedRange& r) {
  if (r.is_zero) return 0;
  if (r.is_nan || std::isnan(v)) return std::numeric_limits<float>::quiet_NaN();
  const float clamped = v < r.min ? r.min : v > r.max ? r.max : v;
  const float distance = clamped - r.min;
  const float steps = distance / r.scale;
  const float code = steps - r.zero_code;
  const float shifted = code + 0.5f;
  return std::floor(shifted) * r.scale;
}

}  // namespace pcqat::test
