// Dense layers and the general matrix product behind them.
#pragma once

#include "ops/common.h"

namespace pcqat {

// c[m,n] = op(a) · op(b) (+ bias[n]) then activation. op(a) is [m,k]: `a` itself, or its transpose when stored [k,m].
struct MatmulShape {
  int64_t m, n, k;
  bool transpose_a = false, transpose_b = false;
};
size_t matmul_workspace(const MatmulShape& s, int threads);
void matmul(const MatmulShape& s, const float* a, const float* b, const float* bias, Activation activation, float* c,
            const Context& context);

size_t dense_workspace(int64_t max_rows, int64_t in, int64_t out, int threads);
void dense_forward(int64_t rows, int64_t in, int64_t out, const float* x, const float* kernel, const float* bias, Activation activation,
                   float* y, const Context& context);
void dense_backward_input(int64_t rows, int64_t in, int64_t out, const float* dy, const float* kernel, float* dx, const Context& context);
void dense_backward_kernel(int64_t rows, int64_t in, int64_t out, const float* x, const float* dy, float* d_kernel, float* d_bias,
                           const Context& context);

}  // namespace pcqat
