// Factors per channel are the scales of a batch norm without shift, so its kernels do the work.
#include "ops/multiply.h"

#include <algorithm>

#include "carver.h"
#include "ops/finish.h"
#include "ops/images.h"
#include "ops/row_blocks.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

struct ProductMemory {
  float* zeros;  // per channel
  double* sums;  // two per channel and worker
};

ProductMemory plan(int64_t channels, int threads, Carver& workspace) {
  ProductMemory memory;
  memory.zeros = workspace.take<float>(channels);
  memory.sums = workspace.take<double>(2 * channels * threads);
  return memory;
}

ProductMemory memory_of(int64_t channels, const Context& context) {
  Carver workspace(context.workspace);
  const ProductMemory memory = plan(channels, context.pool.threads(), workspace);
  std::fill(memory.zeros, memory.zeros + channels, 0.0f);
  return memory;
}

}  // namespace

void multiply(int64_t count, const float* a, const float* b, float* y, const Context& context) {
  const Chunks chunks = chunks_of(count, kChunkElements, 64);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t at = chunks.begin(chunk);
    context.kernels.f32->multiply(chunks.length(chunk), a + at, b + at, y + at);
  });
}

size_t channel_product_workspace(int64_t channels, int threads) {
  Carver workspace(nullptr);
  plan(channels, threads, workspace);
  return workspace.used();
}

void channel_product(int64_t rows, int64_t pixels, int64_t channels, const float* x, const float* factor, float* y,
                     const Context& context) {
  const ProductMemory memory = memory_of(channels, context);
  const Finish keep = make_finish(Activation::none, nullptr);
  const int64_t floats = pixels * channels;
  each_image(rows, floats, context, [&](int64_t row, int) {
    const F32Kernels& kernels = *context.kernels.f32;
    kernels.scale_shift(pixels, channels, x + row * floats, factor + row * channels, memory.zeros, keep,
                        plain_rows(y + row * floats, channels, kernels));
  });
}

void channel_product_backward_factor(int64_t rows, int64_t pixels, int64_t channels, const float* x, const float* dy, float* d_factor,
                                     const Context& context) {
  const ProductMemory memory = memory_of(channels, context);
  const float* zeros = memory.zeros;
  const PassInterval everywhere = make_pass_interval(Activation::none, nullptr);
  const int64_t floats = pixels * channels;
  each_image(rows, floats, context, [&](int64_t row, int worker) {
    double* sum = memory.sums + 2 * channels * worker;
    double* product = sum + channels;
    std::fill(sum, sum + 2 * channels, 0.0);
    context.kernels.f32->norm_gradient_sums(pixels, channels, x + row * floats, zeros, zeros, zeros, everywhere, dy + row * floats, sum,
                                            product);
    for (int64_t c = 0; c < channels; ++c) d_factor[row * channels + c] = static_cast<float>(product[c]);
  });
}

}  // namespace pcqat
