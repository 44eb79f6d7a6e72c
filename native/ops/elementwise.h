// Activations, sums, fake quantization, dropout, softmax and copies.
#pragma once

#include "ops/common.h"

namespace pcqat {

size_t elementwise_workspace(int64_t max_count, int threads);

// y = FQ(activation(x)); y may alias x without fake quantization. `range` receives the nudged range for backward.
void activation_forward(int64_t count, const float* x, Activation activation, const ActivationQuant& quant, NudgedRange* range, float* y,
                        const Context& context);
// x = the input of the forward. range null: no fake quantization. dx may alias dy.
void activation_backward(int64_t count, const float* x, Activation activation, const NudgedRange* range, const float* dy, float* dx,
                         const Context& context);
// Gradient through an activation whose *output* y is known (conv, dense): dx = dy where y > 0 (and y < 6). In place allowed.
void activation_backward_from_output(int64_t count, const float* y, Activation activation, const float* dy, float* dx,
                                     const Context& context);

// y = FQ(activation(a + b)).
void add_forward(int64_t count, const float* a, const float* b, Activation activation, const ActivationQuant& quant, NudgedRange* range,
                 float* y, const Context& context);
// d = gradient of a and of b.
void add_backward(int64_t count, const float* a, const float* b, Activation activation, const NudgedRange* range, const float* dy, float* d,
                  const Context& context);

// sum += term (gradients of values with several consumers).
void accumulate(int64_t count, const float* term, float* sum, const Context& context);

// Inverted dropout: kept elements are divided by 1 - rate. The stream is a counter-based generator (Philox4x32-10) of
// (seed, step, instruction, element), so backward regenerates the same mask and threads do not matter.
struct DropoutKey {
  uint64_t seed;
  uint64_t step;
  uint32_t instruction;
};
void dropout(int64_t count, float rate, const DropoutKey& key, const float* x, float* y, const Context& context);  // also its own backward

// Over the last axis.
void softmax_forward(int64_t rows, int64_t classes, const float* x, float* y, const Context& context);
void softmax_backward(int64_t rows, int64_t classes, const float* y, const float* dy, float* dx, const Context& context);

// Index of the first element that is NaN or infinite, or -1.
int64_t find_non_finite(int64_t count, const float* x, const Context& context);
// Whether no element is NaN or larger than about `limit` (at least 1).
bool is_within(float limit, int64_t count, const float* x, const Context& context);
// Sum of squares in double, fixed order.
double sum_of_squares(int64_t count, const float* x, const Context& context);
// No sum of products of some elements of x and dy, each taken once, is larger (Cauchy and Schwarz): a gradient of a kernel. Infinite where
// they are more than the kernel's elements, so that a look at these takes less.
double kernel_gradient_bound(int64_t kernel_count, int64_t x_count, const float* x, int64_t dy_count, const float* dy,
                             const Context& context);

}  // namespace pcqat
