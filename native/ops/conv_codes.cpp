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
// They take a quarter of the time of f32's, but rows have to be computed and encoded.
constexpr int64_t kChunkCodeProducts = 2 * kChunkProducts;

int64_t elements(int64_t k) { return (k + 3) / 4; }

// A multiple of the register tile's height.
int64_t block_pixels(const ConvGeometry& g) { return std::clamp<int64_t>(kCodeBytes / (4 * elements(patch_size(g))) / 24, 1, 20) * 24; }

struct CodeMemory {
  uint32_t* packed;
  float* inverse_scale;  // per column
  float* scale;          // of a product
  int32_t* correction;   // zero code · Σ weight codes
  float* values;         // per worker the rows of a block, or few rows
  uint32_t* codes;       // of those
};

CodeMemory plan(const ConvGeometry& g, int threads, Carver& workspace) {
  const int64_t size = patch_size(g), pixels = block_pixels(g);
  CodeMemory memory;
  memory.packed = workspace.take<uint32_t>(packed_floats(elements(size), g.out_c));
  memory.inverse_scale = workspace.take<float>(g.out_c);
  memory.scale = workspace.take<float>(g.out_c);
  memory.correction = workspace.take<int32_t>(g.out_c);
  const int64_t rows = std::max(threads * pixels, kFewRows);
  memory.values = workspace.take<float>(rows * size);
  memory.codes = workspace.take<uint32_t>(rows * elements(size));
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

// Columns of the kernel that are packed at once: whole panels. Wide kernels are read in longer pieces, small ones are not worth sharing.
Chunks packed_columns(const ConvGeometry& g, const Context& context) {
  const int64_t columns = context.kernels.f32->gemm_columns, long_piece = std::clamp<int64_t>(g.out_c / 8, columns, kPackedCodes);
  return chunks_of(g.out_c, std::max(long_piece, kChunkElements / patch_size(g) + 1), columns);
}

void pack_codes(const ConvGeometry& g, const CodeOperands& operands, const float* kernel, int64_t first, int64_t count,
                const CodeMemory& memory, const Context& context) {
  const int64_t size = patch_size(g);
  const int32_t zero = static_cast<int32_t>(operands.x.zero_code);
  if (operands.indices != nullptr && !operands.per_channel) {
    context.kernels.code_product->pack_indices(size, g.out_c, operands.indices, operands.table, memory.inverse_scale[0], first, count,
                                               memory.packed + first * elements(size), memory.correction);
    for (int64_t j = first; j < first + count; ++j) memory.correction[j] *= zero;
    return;
  }
  for (int64_t done = 0; done < count; done += kPackedCodes) {
    const int64_t column = first + done, width = std::min(kPackedCodes, count - done);
    context.kernels.code_product->pack(size, g.out_c, kernel, memory.inverse_scale, column, width, memory.packed + column * elements(size),
                                       memory.correction);
    for (int64_t j = column; j < column + width; ++j) memory.correction[j] *= zero;
  }
}

// y = codes · packed kernel for `count` pixels, columns [first, first + width).
GemmBlock code_product(const ConvGeometry& g, int64_t count, int64_t first, int64_t width, const uint32_t* codes, const float* bias,
                       Activation activation, const CodeMemory& memory, float* y, const Context& context) {
  const int64_t k = elements(patch_size(g)), columns = context.kernels.f32->gemm_columns;
  GemmBlock gemm{count,
                 width,
                 k,
                 reinterpret_cast<const float*>(codes),
                 k,
                 1,
                 reinterpret_cast<const float*>(memory.packed + first * k),
                 columns,
                 columns * k,
                 true,
                 y + first,
                 g.out_c,
                 false,
                 bias == nullptr ? nullptr : bias + first,
                 activation_low(activation),
                 activation_high(activation)};
  gemm.scale = memory.scale + first;
  gemm.correction = memory.correction + first;
  return gemm;
}

bool has_few_pixels(const ConvGeometry& g, int64_t pixels) { return is_pointwise(g) && has_few_rows(pixels, g.out_c); }

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
  const Chunks columns = packed_columns(g, context);
  const auto encode = [&](int64_t first, int64_t count, float* computed, uint32_t* codes) {
    const float* values = patch_rows(g, input, first, count, computed, context.kernels);
    return product.encode(count, size, values, operands.x.inverse_scale, operands.x.zero_code, codes);
  };
  if (has_few_pixels(g, pixels)) {  // cut along the columns
    const Chunks parts = chunks_of(pixels, kChunkElements / size + 1);
    bool has_codes[kMaxChunks];
    context.pool.parallel_for(parts.count, [&](int64_t part) {
      const int64_t first = parts.begin(part);
      has_codes[part] = encode(first, parts.length(part), memory.values + first * size, memory.codes + first * k);
    });
    context.pool.parallel_for(columns.count, [&](int64_t chunk) {
      const int64_t first = columns.begin(chunk), width = columns.length(chunk);
      pack_codes(g, operands, kernel, first, width, memory, context);
      product.gemm(code_product(g, pixels, first, width, memory.codes, bias, activation, memory, y, context));
    });
    if (!std::all_of(has_codes, has_codes + parts.count, [](bool has) { return has; })) {
      std::fill(y, y + pixels * out, std::numeric_limits<float>::quiet_NaN());
    }
    if (statistics != nullptr) take_statistics(pixels, out, y, statistics, context);
    return;
  }
  context.pool.parallel_for(
      columns.count, [&](int64_t chunk) { pack_codes(g, operands, kernel, columns.begin(chunk), columns.length(chunk), memory, context); });
  const Chunks chunks = chunks_of(pixels, std::min(block, kChunkCodeProducts / (size * out) + 1), context.kernels.f32->gemm_rows,
                                  cuts_in_two(statistics, kTwoChunksProducts / (size * out) + 1));
  write_output(chunks, block, out, y, statistics, context, [&](int64_t first, int64_t count, int worker) {
    uint32_t* codes = memory.codes + worker * block * k;
    float* target = y + first * out;
    if (!encode(first, count, memory.values + worker * block * size, codes)) {
      std::fill(target, target + count * out, std::numeric_limits<float>::quiet_NaN());
      return;
    }
    GemmBlock gemm = code_product(g, count, 0, out, codes, bias, activation, memory, target, context);
    gemm.instead_of_a = upcoming_rows(g, input, first + count, std::min(block, pixels - first - count));
    product.gemm(gemm);
  });
}

}  // namespace pcqat
