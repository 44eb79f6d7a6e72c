// Element-wise products, and products with one factor per channel and image.
#pragma once

#include "ops/common.h"

namespace pcqat {

// y = a b. Also the gradient: d_a = dy b.
void multiply(int64_t count, const float* a, const float* b, float* y, const Context& context);

size_t channel_product_workspace(int64_t channels, int threads);
// y[row, pixel, c] = x[row, pixel, c] factor[row, c]. Also the gradient of x: dx = dy factor.
void channel_product(int64_t rows, int64_t pixels, int64_t channels, const float* x, const float* factor, float* y, const Context& context);
// d_factor[row, c] = Σ_pixel x dy, in double over blocks of pixels.
void channel_product_backward_factor(int64_t rows, int64_t pixels, int64_t channels, const float* x, const float* dy, float* d_factor,
                                     const Context& context);

}  // namespace pcqat
