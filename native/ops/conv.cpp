// conv2d as matrix products: pointwise convolutions directly, others over patches gathered block by block.
#include "ops/conv.h"

#include <algorithm>

#include "carver.h"
#include "ops/chunks.h"
#include "ops/conv_rows.h"
#include "ops/finish.h"
#include "ops/gemm.h"
#include "ops/patches.h"
#include "ops/statistics.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// Pixels whose patches are gathered at once: about 64 KB, a multiple of every register tile's height.
int64_t patch_pixels(const ConvGeometry& g) { return std::max<int64_t>(16384 / patch_size(g) / 24, 1) * 24; }
// Pixels of a pointwise convolution at once: an output of about 128 KB.
int64_t output_block(const ConvGeometry& g) { return std::max<int64_t>(32768 / g.out_c / 24, 1) * 24; }
int64_t block_pixels(const ConvGeometry& g) { return is_pointwise(g) ? output_block(g) : patch_pixels(g); }

// Kernels that stay in the first-level cache are read as they lie: whole panels of them.
bool is_small_kernel(const ConvGeometry& g, const F32Kernels& kernels) {
  constexpr int64_t kSmallKernel = 8192;
  return patch_size(g) * g.out_c <= kSmallKernel && g.out_c % kernels.gemm_columns == 0;
}

struct ConvMemory {
  float* packed;
  float* values;  // per worker: the rows of a block
};

ConvMemory plan(const ConvGeometry& g, int threads, Carver& workspace) {
  ConvMemory memory;
  memory.packed = workspace.take<float>(packed_floats(patch_size(g), g.out_c));
  memory.values = workspace.take<float>(threads * block_pixels(g) * patch_size(g));
  return memory;
}

}  // namespace

size_t conv2d_workspace(const ConvGeometry& g, int threads) {
  Carver workspace(nullptr);
  plan(g, threads, workspace);
  return workspace.used();
}

void conv2d_forward(const ConvGeometry& g, int64_t rows, const LayerInput& x, const float* kernel, const float* bias, Activation activation,
                    float* y, OutputStatistics* statistics, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  Carver workspace(context.workspace);
  const ConvMemory memory = plan(g, context.pool.threads(), workspace);
  const int64_t pixels = rows * g.out_h * g.out_w, size = patch_size(g), out = g.out_c;
  const bool as_it_is = is_pointwise(g) && (!is_worth_packing(pixels, out) || is_small_kernel(g, kernels));
  const RightSide b = as_it_is ? in_place(kernel, out, context) : pack(size, out, kernel, false, memory.packed, context);
  if (is_pointwise(g) && out > pixels) {  // cut along the columns
    chunked_gemm(pixels, out, size, {settle(x, pixels, context), size, 1}, b, bias, activation, y, context);
    if (statistics != nullptr) take_statistics(pixels, out, y, statistics, context);
    return;
  }
  const LayerInput input = settle_patches(g, rows, x, context);
  const int64_t block = block_pixels(g);
  if (reads_in_place(g)) {
    const Chunks chunks = chunks_of(rows * g.out_h, kChunkProducts / (size * out * g.out_w) + 1, 1,
                                    cuts_in_two(statistics, kTwoChunksProducts / (size * out * g.out_w) + 1))
                              .of(g.out_w);
    write_output(chunks, kRowsInPlace * g.out_w, out, y, statistics, context, [&](int64_t first, int64_t count, int worker) {
      conv_rows(g, first / g.out_w, count / g.out_w, input.x, b, bias, activation, memory.values + worker * block * size, y, kernels);
    });
    return;
  }
  const Chunks chunks = chunks_of(pixels, std::min(block, kChunkProducts / (size * out) + 1), kernels.gemm_rows,
                                  cuts_in_two(statistics, kTwoChunksProducts / (size * out) + 1));
  write_output(chunks, block, out, y, statistics, context, [&](int64_t first, int64_t count, int worker) {
    float* const computed = memory.values + worker * block * size;
    const float* values = patch_rows(g, input, first, count, computed, context.kernels);
    GemmBlock gemm{count,
                   out,
                   size,
                   values,
                   size,
                   1,
                   b.data,
                   b.row,
                   b.panel,
                   b.padded,
                   y + first * out,
                   out,
                   false,
                   bias,
                   activation_low(activation),
                   activation_high(activation)};
    if (values == computed) gemm.instead_of_a = upcoming_rows(g, input, first + count, std::min(block, pixels - first - count));
    kernels.gemm(gemm);
  });
}

}  // namespace pcqat
