// conv2d on fake-quantized operands as integer products: what the deployed file computes, before its rounding.
#include <algorithm>
#include <limits>

#include "carver.h"
#include "ops/conv.h"
#include "ops/finish.h"
#include "ops/gemm.h"
#include "ops/patches.h"
#include "ops/statistics.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"
#include "simd/product_kernels.h"

namespace pcqat {

namespace {

// Bytes of codes that a worker multiplies at once: they stay in the second-level cache while the weights pass by.
constexpr int64_t kCodeBytes = 65536;
// They take a quarter of the time of f32's.
constexpr int64_t kChunkCodeProducts = 4 * kChunkProducts;

int64_t elements(int64_t k) { return (k + 3) / 4; }

// A multiple of the register tile's height.
int64_t block_pixels(const ConvGeometry& g) { return std::clamp<int64_t>(kCodeBytes / (4 * elements(patch_size(g))) / 24, 1, 20) * 24; }

struct CodeMemory {
  uint32_t* packed;
  float* inverse_scale;  // per column
  float* scale;          // of a product
  int32_t* correction;   // zero code · Σ weight codes
  float* values;         // per worker: the rows of a block
  uint32_t* codes;       // per worker
};

CodeMemory plan(const ConvGeometry& g, int threads, Carver& workspace) {
  const int64_t size = patch_size(g), pixels = block_pixels(g);
  CodeMemory memory;
  memory.packed = workspace.take<uint32_t>(packed_floats(elements(size), g.out_c));
  memory.inverse_scale = workspace.take<float>(g.out_c);
  memory.scale = workspace.take<float>(g.out_c);
  memory.correction = workspace.take<int32_t>(g.out_c);
  memory.values = workspace.take<float>(threads * pixels * size);
  memory.codes = workspace.take<uint32_t>(threads * pixels * elements(size));
  return memory;
}

// Scales of the columns. A channel of zeros has no scale, its codes are 0.
void find_scales(const CodeOperands& operands, int64_t columns, const CodeMemory& memory) {
  for (int64_t j = 0; j < columns; ++j) {
    const int64_t at = operands.per_channel ? j : 0;
    const NudgedRange range =
        nudge_range(operands.weight_min[at], operands.weight_max[at], operands.weight_bits, operands.weight_narrow_range);
    const bool has_codes = !range.is_zero && !range.is_nan;
    memory.inverse_scale[j] = has_codes ? range.inverse_scale : 0.0f;
    memory.scale[j] = has_codes ? operands.x.scale * range.scale : range.is_nan ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
  }
}

void pack_codes(const ConvGeometry& g, const CodeOperands& operands, const float* kernel, const CodeMemory& memory,
                const Context& context) {
  const int64_t size = patch_size(g), out = g.out_c, columns = context.kernels.f32->gemm_columns;
  const int32_t zero = static_cast<int32_t>(operands.x.zero_code);
  context.pool.parallel_for((out + columns - 1) / columns, [&](int64_t panel) {
    const int64_t first = panel * columns, width = std::min(columns, out - first);
    context.kernels.code_product->pack(size, out, kernel, memory.inverse_scale, first, width,
                                       memory.packed + panel * columns * elements(size), memory.correction);
    for (int64_t j = first; j < first + width; ++j) memory.correction[j] *= zero;
  });
}

}  // namespace

// Sums of at most 255 · 127 each must stay in int32.
bool fits_codes(const ConvGeometry& g) { return patch_size(g) <= std::numeric_limits<int32_t>::max() / (2 * 255 * 127); }

size_t conv2d_codes_workspace(const ConvGeometry& g, int threads) {
  Carver workspace(nullptr);
  plan(g, threads, workspace);
  return workspace.used();
}

void conv2d_forward_codes(const ConvGeometry& g, int64_t rows, const CodeOperands& operands, const LayerInput& x, const float* kernel,
                          const float* bias, Activation activation, float* y, OutputStatistics* statistics, const Context& context) {
  Carver workspace(context.workspace);
  const CodeMemory memory = plan(g, context.pool.threads(), workspace);
  const CodeProduct& product = *context.kernels.code_product;
  const int64_t pixels = rows * g.out_h * g.out_w, size = patch_size(g), k = elements(size), out = g.out_c, block = block_pixels(g);
  const LayerInput input = settle_patches(g, rows, x, context);
  find_scales(operands, out, memory);
  pack_codes(g, operands, kernel, memory, context);
  const int64_t columns = context.kernels.f32->gemm_columns;
  const Chunks chunks = chunks_of(pixels, std::min(block, kChunkCodeProducts / (size * out) + 1), context.kernels.f32->gemm_rows);
  write_output(chunks, block, out, y, statistics, context, [&](int64_t first, int64_t count, int worker) {
    const float* values = patch_rows(g, input, first, count, memory.values + worker * block * size, context.kernels);
    uint32_t* codes = memory.codes + worker * block * k;
    float* target = y + first * out;
    if (!product.encode(count, size, values, operands.x.inverse_scale, operands.x.zero_code, codes)) {
      std::fill(target, target + count * out, std::numeric_limits<float>::quiet_NaN());
      return;
    }
    GemmBlock gemm{count,
                   out,
                   k,
                   reinterpret_cast<const float*>(codes),
                   k,
                   1,
                   reinterpret_cast<const float*>(memory.packed),
                   columns,
                   columns * k,
                   true,
                   target,
                   out,
                   false,
                   bias,
                   activation_low(activation),
                   activation_high(activation)};
    gemm.scale = memory.scale;
    gemm.correction = memory.correction;
    gemm.instead_of_a = upcoming_rows(g, input, first + count, std::min(block, pixels - first - count));
    product.gemm(gemm);
  });
}

}  // namespace pcqat
