// Activation functions and activation fake quantization as the constants the kernels take.
#pragma once

#include <algorithm>
#include <cfloat>
#include <limits>

#include "ops/common.h"
#include "simd/f32_kernels.h"

namespace pcqat {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline float activation_low(Activation a) { return a == Activation::none ? -kInfinity : 0.0f; }
inline float activation_high(Activation a) { return a == Activation::relu6 ? 6.0f : kInfinity; }

inline float activate(float v, Activation a) { return std::min(std::max(v, activation_low(a)), activation_high(a)); }

// range null: no fake quantization. A range of zero width has no such constants: the output is 0.
Finish make_finish(Activation activation, const NudgedRange* range);
// The relu gradient passes where v > 0, relu6 also needs v < 6 (spec 3.5 adds: inside the nudged range).
PassInterval make_pass_interval(Activation activation, const NudgedRange* range);

// Moves or reads the range as quant.mode says, for a batch whose values after the activation span [low, high].
// False: the values are not to be quantized.
bool prepare_range(const ActivationQuant& quant, float low, float high, NudgedRange* range);

// True if prepare_range needs the batch's extremes.
inline bool needs_extremes(const ActivationQuant& quant) {
  if (quant.min == nullptr || quant.mode == QuantMode::frozen) return false;
  return quant.mode == QuantMode::observe || quant.rule.update != RangeUpdate::none;
}

}  // namespace pcqat
