// Pooling and zero padding. NHWC.
#pragma once

#include "ops/common.h"
#include "ops/norm.h"

namespace pcqat {

struct PoolGeometry {
  int64_t in_h, in_w, channels;
  int64_t out_h, out_w;
  int64_t pool_h, pool_w, stride_h, stride_w, pad_top, pad_left;
};

// The average divides by the number of elements inside the image (TensorFlow's SAME).
void average_pool_forward(const PoolGeometry& g, int64_t rows, const float* x, float* y, const Context& context);
void average_pool_backward(const PoolGeometry& g, int64_t rows, const float* dy, float* dx, const Context& context);
void max_pool_forward(const PoolGeometry& g, int64_t rows, const float* x, float* y, const Context& context);
// The gradient goes to the first maximum of each window (row-major), recomputed from x.
void max_pool_backward(const PoolGeometry& g, int64_t rows, const float* x, const float* dy, float* dx, const Context& context);

size_t global_average_pool_workspace(int64_t pixels, int64_t channels, int threads);
void global_average_pool_forward(int64_t rows, int64_t pixels, int64_t channels, const LayerInput& x, float* y, const Context& context);
// Takes the sums of the batch norm before it if `sums` isn't null.
void global_average_pool_backward(int64_t rows, int64_t pixels, int64_t channels, const float* dy, float* dx, NormSums* sums,
                                  const Context& context);

struct PadGeometry {
  int64_t in_h, in_w, channels, top, bottom, left, right;
};
void pad_forward(const PadGeometry& g, int64_t rows, const float* x, float* y, const Context& context);
void pad_backward(const PadGeometry& g, int64_t rows, const float* dy, float* dx, const Context& context);

}  // namespace pcqat
