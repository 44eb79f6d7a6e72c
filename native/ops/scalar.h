#pragma once

#include <cmath>
#include "ops/common.h"

namespace pcqat {

inline float activate(float v, Activation a) {
  if (a == Activation::none) return v;
  v = v > 0 ? v : 0.0f;
  return a == Activation::relu6 && v > 6 ? 6.0f : v;
}
inline bool activation_passes(float v, Activation a) { return a == Activation::none || (v > 0 && (a == Activation::relu || v < 6)); }
inline float quantize(float v, const NudgedRange& r) {
  if (r.is_zero) return 0;
  if (r.is_nan || v != v) return NAN;
  const float c = v < r.min ? r.min : v > r.max ? r.max : v;
  return std::floor((c - r.min) / r.scale - r.zero_code + 0.5f) * r.scale;
}
inline bool quantize_passes(float v, const NudgedRange* r) { return !r || r->is_zero || (v >= r->min && v <= r->max); }

}  // namespace pcqat
