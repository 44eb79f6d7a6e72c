#include "ops/matmul.h"

#include "ops/scalar.h"
#include "parallel/thread_pool.h"

namespace pcqat {

size_t matmul_workspace(const MatmulShape&, int) { return 0; }

void matmul(const MatmulShape& s, const float* a, const float* b, const float* bias, Activation activation, float* c, const Context& context) {
  context.pool.parallel_for(s.m, [&](int64_t i) {
    for (int64_t j = 0; j < s.n; ++j) {
      float sum = 0;
      for (int64_t l = 0; l < s.k; ++l)
        sum += (s.transpose_a ? a[l * s.m + i] : a[i * s.k + l]) * (s.transpose_b ? b[j * s.k + l] : b[l * s.n + j]);
      c[i * s.n + j] = activate(sum + (bias ? bias[j] : 0.0f), activation);
    }
  });
}

size_t dense_workspace(int64_t, int64_t, int64_t, int) { return 0; }

void dense_forward(int64_t rows, int64_t in, int64_t out, const float* x, const float* kernel, const float* bias, Activation activation,
                   float* y, const Context& context) {
  matmul({rows, out, in}, x, kernel, bias, activation, y, context);
}

void dense_backward_input(int64_t rows, int64_t in, int64_t out, const float* dy, const float* kernel, float* dx, const Context& context) {
  matmul({rows, in, out, false, true}, dy, kernel, nullptr, Activation::none, dx, context);
}

void dense_backward_kernel(int64_t rows, int64_t in, int64_t out, const float* x, const float* dy, float* d_kernel, float* d_bias,
                           const Context& context) {
  matmul({in, out, rows, true, false}, x, dy, nullptr, Activation::none, d_kernel, context);
  if (!d_bias) return;
  for (int64_t j = 0; j < out; ++j) d_bias[j] = 0;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < out; ++j) d_bias[j] += dy[i * out + j];
}

}  // namespace pcqat
