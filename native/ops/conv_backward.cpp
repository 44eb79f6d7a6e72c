// All gradients of a conv2d in one walk over the gradient of its output.
#include <algorithm>
#include <cstring>
#include <limits>

#include "carver.h"
#include "ops/chunks.h"
#include "ops/conv.h"
#include "ops/conv_products.h"
#include "ops/elementwise.h"
#include "ops/finish.h"
#include "ops/gemm.h"
#include "ops/patches.h"
#include "ops/reduce.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// With more weights, partial sums of their gradient cost more than walking twice.
constexpr int64_t kFewWeights = 131072;
constexpr int64_t kMostPartials = 16;
// With fewer pixels of a pointwise convolution in a partial sum, adding these up costs more than walking twice.
constexpr int64_t kPixelsOfPartial = 250;

// The kernel gradient is a sum over pixels: at most that many partial sums, each over a range of pixels.
int64_t most_partials(const ConvGeometry& g) {
  const int64_t most = std::clamp<int64_t>(4'000'000 / (patch_size(g) * g.out_c), 1, kMostPartials);
  return most == 1 ? 1 : most / 2 * 2;  // as chunks_of cuts
}

bool has_few_weights(const ConvGeometry& g) { return patch_size(g) * g.out_c <= kFewWeights; }

// Pixels up to which a pointwise convolution is walked twice: those of one partial sum. Every thread then reads all rows, which others
// have just computed.
int64_t most_pixels_twice(const ConvGeometry& g) {
  return has_few_weights(g) ? 2 * kPixelsOfPartial - 1 : std::numeric_limits<int64_t>::max();
}

// Rows that are worked on at once: about 176 KB of the wider operand, a multiple of every register tile's height.
int64_t block_rows(const ConvGeometry& g) { return std::clamp<int64_t>(45056 / std::max(patch_size(g), g.out_c) / 24, 1, 11) * 24; }

// Floats between rows of a block's gradient. Those of many channels take whole lines of the cache, an odd number of them, so that they do
// not compete for the same ones: the product with the block then reads it in place.
int64_t gradient_row(const ConvGeometry& g, bool bf16) {
  constexpr int64_t kLineFloats = 16, kFewChannels = 64;
  return bf16 || g.out_c <= kFewChannels ? g.out_c : ((g.out_c + kLineFloats - 1) / kLineFloats | 1) * kLineFloats;
}

struct BackwardMemory {
  ConvProducts::Memory products;
  float* gradient;       // per worker: rows of it
  float* values;         // per worker: rows of the input, or patches
  float* partials;       // per chunk
  float* bias_partials;  // per chunk: its sum, and that of a block
};

BackwardMemory plan(const ConvGeometry& g, int64_t rows, bool bf16, int threads, Carver& workspace) {
  const int64_t size = patch_size(g), block = block_rows(g);
  const int64_t at_once = is_pointwise(g) ? std::min(rows * g.out_h * g.out_w, most_pixels_twice(g)) : 0;
  BackwardMemory memory;
  memory.products = ConvProducts::plan(g, bf16, block, at_once, threads, workspace);
  memory.gradient = workspace.take<float>(threads * block * gradient_row(g, bf16));
  memory.values = workspace.take<float>(threads * block * size);
  memory.partials = workspace.take<float>(has_few_weights(g) || !is_pointwise(g) ? most_partials(g) * size * g.out_c : 0);
  memory.bias_partials = workspace.take<float>(2 * kMostPartials * gradient_row(g, bf16));
  return memory;
}

// Pixels, or images where overlapping patches are added up: an image then belongs to one chunk, so that this has a fixed order.
// No more of them than partial sums are worth.
Chunks backward_chunks(const ConvGeometry& g, int64_t rows, bool has_partials, bool adds_patches, const F32Kernels& kernels) {
  const int64_t unit = adds_patches ? g.out_h * g.out_w : 1, total = rows * g.out_h * g.out_w / unit;
  const int64_t most = has_partials ? most_partials(g) : kMaxChunks, partial = has_partials && is_pointwise(g) ? kPixelsOfPartial : 1;
  const int64_t smallest = std::max({(total + most - 1) / most, kChunkProducts / (patch_size(g) * g.out_c * unit) + 1, partial});
  const int64_t two = most == 1 ? total + 1 : kTwoChunksProducts / (patch_size(g) * g.out_c * unit) + 1;
  return chunks_of(total, smallest, is_pointwise(g) ? kernels.gemm_rows : 1, two).of(unit);
}

void walk(const ConvGeometry& g, int64_t rows, const LayerInput& x, const OutputGradient& gradient, const ConvGradients& targets,
          const ConvProducts& products, const BackwardMemory& memory, const Context& context) {
  const int64_t size = patch_size(g), out = g.out_c, block = block_rows(g), pixels = rows * g.out_h * g.out_w;
  const int64_t settled_row = gradient_row(g, products.is_bf16());
  const int64_t image = g.out_h * g.out_w, in_image = g.in_h * g.in_w;  // pixels of one
  const bool has_partials = targets.d_kernel != nullptr || targets.d_bias != nullptr;
  const Chunks chunks = backward_chunks(g, rows, has_partials, !is_pointwise(g) && targets.dx != nullptr, *context.kernels.f32);
  if (targets.sums != nullptr) targets.sums->chunks = chunks.count;
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    const int64_t begin = chunks.begin(chunk), end = chunks.end(chunk);
    float* const partial = chunks.count == 1 ? targets.d_kernel : memory.partials + chunk * size * out;
    float* const bias_sum = memory.bias_partials + 2 * chunk * settled_row;
    float* const values = memory.values + worker * block * size;
    if (targets.sums != nullptr) targets.sums->start(chunk);
    const int64_t in_begin = begin / image * in_image, in_count = (end - begin) / image * in_image;
    if (!is_pointwise(g) && targets.dx != nullptr) std::memset(targets.dx + in_begin * g.in_c, 0, sizeof(float) * in_count * g.in_c);
    for (int64_t first = begin; first < end; first += block) {
      const int64_t count = std::min(block, end - first);
      ConvProducts::Rows d{gradient.dy + first * out, out};
      const int64_t after = first + count, next = std::min(block, pixels - after);
      Upcoming next_d{gradient.dy + after * out, next * out};
      if (gradient.delayed != nullptr) {
        float* const settled = memory.gradient + worker * block * settled_row;
        const RowBlocks to{settled, settled_row, context.kernels.f32->gemm_columns};
        norm_gradient_rows(*gradient.delayed, first, count, d.data, to, context.kernels);
        d = {settled, settled_row};
      }
      if (targets.dx != nullptr && is_pointwise(g)) products.input(count, d, targets.dx + first * size, worker, next_d);
      if (targets.dx != nullptr && !is_pointwise(g)) {
        products.input(count, d, values, worker, next_d);
        scatter_patches(g, values, first, count, targets.dx, *context.kernels.f32);
      }
      const float* left = nullptr;
      if (targets.d_kernel != nullptr) left = patch_rows(g, x, first, count, values, context.kernels);
      if (targets.sums != nullptr && is_pointwise(g)) targets.sums->take(chunk, first, count, targets.dx + first * size, context.kernels);
      if (targets.d_kernel != nullptr) {
        const Upcoming next_x = targets.dx == nullptr ? next_d : upcoming_rows(g, x, after, next);
        if (gradient.delayed != nullptr) next_d.data = gradient.delayed->x + after * out;
        products.kernel(count, left, d, first != begin, partial, worker, next_x, next_d);
      }
      if (targets.d_bias != nullptr) {
        context.kernels.f32->column_sums(count, d.row, d.data, first == begin ? bias_sum : bias_sum + settled_row);
        if (first != begin) context.kernels.f32->add(out, bias_sum + settled_row, bias_sum);
      }
    }
    // A pixel is complete when all of its patches are.
    if (targets.sums != nullptr && !is_pointwise(g))
      targets.sums->take(chunk, in_begin, in_count, targets.dx + in_begin * g.in_c, context.kernels);
  });
  if (targets.d_kernel != nullptr && chunks.count > 1) sum_partials(size * out, chunks.count, memory.partials, targets.d_kernel, context);
  if (targets.d_bias == nullptr) return;
  std::memcpy(targets.d_bias, memory.bias_partials, sizeof(float) * out);
  for (int64_t chunk = 1; chunk < chunks.count; ++chunk) {
    context.kernels.f32->add(out, memory.bias_partials + 2 * chunk * settled_row, targets.d_bias);
  }
}

void sum_bias_gradient(int64_t pixels, int64_t out, const float* dy, float* d_bias, const BackwardMemory& memory, const Context& context) {
  const Chunks parts = chunks_of(pixels, (pixels + kMostPartials - 1) / kMostPartials);
  context.pool.parallel_for(parts.count, [&](int64_t part) {
    context.kernels.f32->column_sums(parts.length(part), out, dy + parts.begin(part) * out, memory.bias_partials + part * out);
  });
  sum_partials(out, parts.count, memory.bias_partials, d_bias, context);
}

void bound_kernel(const ConvGeometry& g, int64_t rows, const float* x, const float* dy, const ConvGradients& targets,
                  const Context& context) {
  const int64_t x_count = rows * g.in_h * g.in_w * g.in_c, dy_count = rows * g.out_h * g.out_w * g.out_c;
  if (targets.d_kernel == nullptr || targets.kernel_bound == nullptr) return;
  *targets.kernel_bound = kernel_gradient_bound(patch_size(g) * g.out_c, x_count, x, dy_count, dy, context);
}

// Two walks, without partial sums of the kernel's gradient.
void walk_twice(const ConvGeometry& g, int64_t rows, const LayerInput& input, const OutputGradient& gradient, const ConvGradients& targets,
                const ConvProducts& products, const BackwardMemory& memory, const Context& context) {
  const int64_t size = patch_size(g), out = g.out_c, pixels = rows * g.out_h * g.out_w, block = block_rows(g);
  const float* const x = input.delayed == nullptr ? input.x : input.settled;
  const float* const dy = gradient.delayed == nullptr ? gradient.dy : gradient.settled;
  const Chunks chunks = chunks_of(pixels, kChunkProducts / (size * out) + 1, 24, kTwoChunksProducts / (size * out) + 1);
  if (targets.sums != nullptr) targets.sums->chunks = chunks.count;
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    if (targets.sums != nullptr) targets.sums->start(chunk);
    for (int64_t first = chunks.begin(chunk); first < chunks.end(chunk); first += block) {
      const int64_t count = std::min(block, chunks.end(chunk) - first);
      if (input.delayed != nullptr && targets.d_kernel != nullptr) {
        norm_output_rows(*input.delayed, first, count, input.settled + first * size, context.kernels);
      }
      if (gradient.delayed != nullptr) {
        norm_gradient_rows(*gradient.delayed, first, count, gradient.dy + first * out, gradient.settled + first * out, context.kernels);
      }
      if (targets.dx != nullptr) products.input(count, {dy + first * out, out}, targets.dx + first * size, worker, {});
      if (targets.sums != nullptr) targets.sums->take(chunk, first, count, targets.dx + first * size, context.kernels);
    }
  });
  if (targets.d_kernel != nullptr) products.whole_kernel(pixels, x, dy, targets.d_kernel);
  bound_kernel(g, rows, x, dy, targets, context);
  if (targets.d_bias != nullptr) sum_bias_gradient(pixels, out, dy, targets.d_bias, memory, context);
}

// Few pixels of a pointwise convolution: its kernel is far larger than they are, so it is read in place and cut instead of them.
bool has_few_pixels(const ConvGeometry& g, int64_t rows) { return is_pointwise(g) && has_few_rows(rows * g.out_h * g.out_w, g.in_c); }

void walk_kernel(const ConvGeometry& g, int64_t rows, const LayerInput& input, const float* kernel, const OutputGradient& gradient,
                 const ConvGradients& targets, const ConvProducts& products, const BackwardMemory& memory, const Context& context) {
  const int64_t out = g.out_c, pixels = rows * g.out_h * g.out_w;
  const float* const dy = settle(gradient, pixels, context);
  if (targets.dx != nullptr) products.few_inputs(pixels, kernel, dy, targets.dx);
  if (targets.sums != nullptr) take_sums(pixels, targets.dx, targets.sums, context);
  if (targets.d_kernel != nullptr) {
    const float* const x = settle(input, pixels, context);
    products.whole_kernel(pixels, x, dy, targets.d_kernel);
    bound_kernel(g, rows, x, dy, targets, context);
  }
  if (targets.d_bias != nullptr) sum_bias_gradient(pixels, out, dy, targets.d_bias, memory, context);
}

}  // namespace

size_t conv2d_backward_workspace(const ConvGeometry& g, int64_t max_rows, bool bf16, int threads) {
  Carver workspace(nullptr);
  plan(g, max_rows, bf16, threads, workspace);
  return workspace.used();
}

void conv2d_backward(const ConvGeometry& g, int64_t rows, const LayerInput& x, const float* kernel, const OutputGradient& gradient,
                     const ConvGradients& targets, bool bf16, const Context& context) {
  Carver workspace(context.workspace);
  const BackwardMemory memory = plan(g, rows, bf16, context.pool.threads(), workspace);
  ConvProducts products(g, bf16, block_rows(g), memory.products, context);
  if (has_few_pixels(g, rows)) return walk_kernel(g, rows, x, kernel, gradient, targets, products, memory, context);
  if (targets.dx != nullptr) products.pack_kernel(kernel);
  if (is_pointwise(g) && rows * g.out_h * g.out_w <= most_pixels_twice(g)) {
    walk_twice(g, rows, x, gradient, targets, products, memory, context);
  } else if (has_few_weights(g)) {
    walk(g, rows, settle_patches(g, rows, x, context), gradient, targets, products, memory, context);
  } else {
    const LayerInput input = settle_patches(g, rows, x, context);
    const OutputGradient settled{settle(gradient, rows * g.out_h * g.out_w, context)};
    // Apart, so that the few partial sums do not keep threads from the gradient of the input.
    if (targets.dx != nullptr) walk(g, rows, input, settled, {targets.dx, nullptr, nullptr, targets.sums}, products, memory, context);
    if (targets.d_kernel != nullptr || targets.d_bias != nullptr) {
      walk(g, rows, input, settled, {nullptr, targets.d_kernel, targets.d_bias}, products, memory, context);
      bound_kernel(g, rows, input.x, settled.dy, targets, context);
    }
  }
}

}  // namespace pcqat
