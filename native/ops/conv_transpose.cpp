#include "ops/conv_transpose.h"

#include <algorithm>

#include "carver.h"
#include "ops/chunks.h"
#include "ops/finish.h"
#include "ops/reduce.h"
#include "ops/row_blocks.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// Beside what the convolution needs, one after the other in the same memory: ones for the bias, or its partial sums.
float* bias_memory(const ConvGeometry& g, Carver& workspace) { return workspace.take<float>(kMaxChunks * g.in_c); }

Chunks pixel_chunks(const ConvGeometry& g, int64_t rows) { return chunks_of(rows * g.in_h * g.in_w, kChunkElements / g.in_c + 1); }

void add_bias(const ConvGeometry& g, int64_t rows, const float* bias, Activation activation, float* y, const Context& context) {
  Carver workspace(context.workspace);
  float* ones = bias_memory(g, workspace);
  std::fill(ones, ones + g.in_c, 1.0f);
  const Finish finish = make_finish(activation, nullptr);
  const Chunks chunks = pixel_chunks(g, rows);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    float* at = y + chunks.begin(chunk) * g.in_c;
    if (bias != nullptr)
      context.kernels.f32->scale_shift(chunks.length(chunk), g.in_c, at, ones, bias, finish, plain_rows(at, g.in_c, *context.kernels.f32));
    else
      context.kernels.f32->finish(chunks.length(chunk) * g.in_c, at, nullptr, finish, at);
  });
}

void bias_gradient(const ConvGeometry& g, int64_t rows, const float* dy, float* d_bias, const Context& context) {
  Carver workspace(context.workspace);
  float* partials = bias_memory(g, workspace);
  const Chunks chunks = pixel_chunks(g, rows);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    context.kernels.f32->column_sums(chunks.length(chunk), g.in_c, dy + chunks.begin(chunk) * g.in_c, partials + chunk * g.in_c);
  });
  sum_partials(g.in_c, chunks.count, partials, d_bias, context);
}

}  // namespace

size_t conv_transpose_workspace(const ConvGeometry& g, int64_t max_rows, int threads) {
  Carver workspace(nullptr);
  bias_memory(g, workspace);
  return std::max({workspace.used(), conv2d_workspace(g, threads), conv2d_backward_workspace(g, max_rows, false, threads)});
}

void conv_transpose_forward(const ConvGeometry& g, int64_t rows, const float* x, const float* kernel, const float* bias,
                            Activation activation, float* y, const Context& context) {
  conv2d_backward(g, rows, {}, kernel, {x}, {y}, false, context);
  if (bias != nullptr || activation != Activation::none) add_bias(g, rows, bias, activation, y, context);
}

void conv_transpose_backward_input(const ConvGeometry& g, int64_t rows, const float* dy, const float* kernel, float* dx,
                                   const Context& context) {
  conv2d_forward(g, rows, {dy}, kernel, nullptr, Activation::none, dx, nullptr, context);
}

void conv_transpose_backward_kernel(const ConvGeometry& g, int64_t rows, const float* x, const float* dy, float* d_kernel, float* d_bias,
                                    const Context& context) {
  conv2d_backward(g, rows, {dy}, nullptr, {x}, {nullptr, d_kernel}, false, context);
  if (d_bias != nullptr) bias_gradient(g, rows, dy, d_bias, context);
}

}  // namespace pcqat
