// conv2d as matrix products: pointwise convolutions directly, others over patches gathered block by block.
#include "ops/conv.h"

#include <algorithm>
#include <cstring>

#include "carver.h"
#include "ops/chunks.h"
#include "ops/finish.h"
#include "ops/gemm.h"
#include "ops/patches.h"
#include "ops/reduce.h"
#include "ops/statistics.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// Multiply-adds that make a chunk worth handing to a thread.
constexpr int64_t kChunkProducts = 2'000'000;

// Pixels whose patches are gathered at once: about 256 KB, a multiple of every register tile's height.
int64_t patch_pixels(const ConvGeometry& g) { return std::max<int64_t>(65536 / patch_size(g) / 24, 1) * 24; }
// Pixels of a pointwise convolution at once: an output of about 128 KB.
int64_t output_block(const ConvGeometry& g) { return std::max<int64_t>(32768 / g.out_c / 24, 1) * 24; }
int64_t patch_floats(const ConvGeometry& g) { return is_pointwise(g) ? 0 : patch_pixels(g) * patch_size(g); }

// The kernel gradient is a sum over pixels: at most that many partial sums, each over a range of pixels.
int64_t most_partials(const ConvGeometry& g) { return std::clamp<int64_t>(4'000'000 / (patch_size(g) * g.out_c), 1, 16); }

Chunks gradient_chunks(const ConvGeometry& g, int64_t rows) {
  const int64_t pixels = rows * g.out_h * g.out_w, most = most_partials(g);
  const int64_t smallest = std::max((pixels + most - 1) / most, kChunkProducts / (patch_size(g) * g.out_c) + 1);
  return chunks_of(pixels, smallest, is_pointwise(g) ? 8 : patch_pixels(g));
}

struct ConvMemory {
  float* packed;
  float* patches;  // per worker
  float* partials;
  float* bias_partials;
};

ConvMemory plan(const ConvGeometry& g, int threads, Carver& workspace) {
  ConvMemory memory;
  memory.packed = workspace.take<float>(std::max(packed_floats(patch_size(g), g.out_c), packed_floats(g.out_c, patch_size(g))));
  memory.patches = workspace.take<float>(patch_floats(g) * threads);
  memory.partials = workspace.take<float>(most_partials(g) * patch_size(g) * g.out_c);
  memory.bias_partials = workspace.take<float>(most_partials(g) * g.out_c);
  return memory;
}

ConvMemory memory_of(const ConvGeometry& g, const Context& context) {
  Carver workspace(context.workspace);
  return plan(g, context.pool.threads(), workspace);
}

}  // namespace

size_t conv2d_workspace(const ConvGeometry& g, int64_t, int threads) {
  Carver workspace(nullptr);
  plan(g, threads, workspace);
  return workspace.used();
}

void conv2d_forward(const ConvGeometry& g, int64_t rows, const float* x, const float* kernel, const float* bias, Activation activation,
                    float* y, OutputStatistics* statistics, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const ConvMemory memory = memory_of(g, context);
  const int64_t pixels = rows * g.out_h * g.out_w, size = patch_size(g), out = g.out_c;
  const RightSide b = pack(size, out, kernel, false, memory.packed, context);
  if (is_pointwise(g) && out > pixels) {  // cut along the columns
    chunked_gemm(pixels, out, size, {x, size, 1}, b, bias, activation, y, context);
    if (statistics != nullptr) take_statistics(pixels, out, y, statistics, context);
    return;
  }
  const int64_t block = is_pointwise(g) ? output_block(g) : patch_pixels(g);
  const Chunks chunks = chunks_of(pixels, std::min(block, kChunkProducts / (size * out) + 1), is_pointwise(g) ? kernels.gemm_rows : block);
  if (statistics != nullptr) statistics->chunks = chunks;
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    for (int64_t first = chunks.begin(chunk); first < chunks.end(chunk); first += block) {
      const int64_t count = std::min(block, chunks.end(chunk) - first);
      const float* values = x + first * size;
      if (!is_pointwise(g)) {
        float* patches = memory.patches + worker * patch_floats(g);
        gather_patches(g, x, first, count, patches);
        values = patches;
      }
      kernels.gemm({count, out, size, values, size, 1, b.data, b.row, b.panel, b.padded, y + first * out, out, false, bias,
                    activation_low(activation), activation_high(activation)});
      if (statistics != nullptr) statistics->take(chunk, first, count, out, y, kernels);
    }
  });
}

void conv2d_backward_input(const ConvGeometry& g, int64_t rows, const float* dy, const float* kernel, float* dx, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const ConvMemory memory = memory_of(g, context);
  const int64_t out_pixels = g.out_h * g.out_w, in_floats = g.in_h * g.in_w * g.in_c, size = patch_size(g), out = g.out_c;
  const RightSide b = pack(out, size, kernel, true, memory.packed, context);
  if (is_pointwise(g)) {
    chunked_gemm(rows * out_pixels, g.in_c, out, {dy, out, 1}, b, nullptr, Activation::none, dx, context);
    return;
  }
  // An image belongs to one chunk, so that its patches are added up in a fixed order.
  const Chunks chunks = chunks_of(rows, kChunkProducts / (out_pixels * size * out) + 1);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    float* patches = memory.patches + worker * patch_floats(g);
    const int64_t begin = chunks.begin(chunk), end = chunks.end(chunk);
    std::memset(dx + begin * in_floats, 0, sizeof(float) * (end - begin) * in_floats);
    for (int64_t first = begin * out_pixels; first < end * out_pixels; first += patch_pixels(g)) {
      const int64_t count = std::min(patch_pixels(g), end * out_pixels - first);
      kernels.gemm({count, size, out, dy + first * out, out, 1, b.data, b.row, b.panel, b.padded, patches, size, false, nullptr, -kInfinity,
                    kInfinity});
      scatter_patches(g, patches, first, count, dx, kernels);
    }
  });
}

void conv2d_backward_kernel(const ConvGeometry& g, int64_t rows, const float* x, const float* dy, float* d_kernel, float* d_bias,
                            const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const ConvMemory memory = memory_of(g, context);
  const int64_t size = patch_size(g), out = g.out_c;
  const Chunks chunks = gradient_chunks(g, rows);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    float* partial = chunks.count == 1 ? d_kernel : memory.partials + chunk * size * out;
    const auto add_product = [&](int64_t first, int64_t count, const float* patches) {
      kernels.gemm({size, out, count, patches, 1, size, dy + first * out, out, kernels.gemm_columns, false, partial, out,
                    first != chunks.begin(chunk), nullptr, -kInfinity, kInfinity});
    };
    if (is_pointwise(g)) {
      add_product(chunks.begin(chunk), chunks.length(chunk), x + chunks.begin(chunk) * size);
    } else {
      float* patches = memory.patches + worker * patch_floats(g);
      for (int64_t first = chunks.begin(chunk); first < chunks.end(chunk); first += patch_pixels(g)) {
        const int64_t count = std::min(patch_pixels(g), chunks.end(chunk) - first);
        gather_patches(g, x, first, count, patches);
        add_product(first, count, patches);
      }
    }
    if (d_bias != nullptr) {
      kernels.column_sums(chunks.length(chunk), out, dy + chunks.begin(chunk) * out, memory.bias_partials + chunk * out);
    }
  });
  if (chunks.count > 1) sum_partials(size * out, chunks.count, memory.partials, d_kernel, context);
  if (d_bias != nullptr) sum_partials(out, chunks.count, memory.bias_partials, d_bias, context);
}

}  // namespace pcqat
