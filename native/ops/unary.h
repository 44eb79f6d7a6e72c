// Activation functions that are more than a clamp: sigmoid, tanh, hard-swish, leaky ReLU.
#pragma once

#include "ops/common.h"
#include "simd/f32_kernels.h"

namespace pcqat {

// y = FQ(f(x)). With a range that follows the batch this takes two passes, as for an activation: f(x) and its extremes, then
// rounding in place. `range` receives the nudged range for backward.
void unary_forward(int64_t count, const Unary& f, const float* x, const ActivationQuant& quant, NudgedRange* range, float* y,
                   const Context& context);
// x = the input of the forward; dx = dy f'(x) where f(x) is inside the range (null: no fake quantization).
void unary_backward(int64_t count, const Unary& f, const float* x, const NudgedRange* range, const float* dy, float* dx,
                    const Context& context);

}  // namespace pcqat
