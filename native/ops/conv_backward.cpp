// All gradients of a conv2d in one walk over the gradient of its output.
#include <algorithm>
#include <cstring>
#include <limits>

#include "carver.h"
#include "ops/chunks.h"
#include "ops/conv.h"
#include "ops/finish.h"
#include "ops/gemm.h"
#include "ops/patches.h"
#include "ops/reduce.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"
#include "simd/product_kernels.h"

namespace pcqat {

namespace {

// With more weights, partial sums of their gradient cost more than walking twice.
constexpr int64_t kFewWeights = 131072;
constexpr int64_t kMostPartials = 16;
// With fewer pixels in a partial sum, adding these up costs more than walking twice.
constexpr int64_t kPixelsOfPartial = 128;

// The kernel gradient is a sum over pixels: at most that many partial sums, each over a range of pixels.
int64_t most_partials(const ConvGeometry& g) {
  const int64_t most = std::clamp<int64_t>(4'000'000 / (patch_size(g) * g.out_c), 1, kMostPartials);
  return most == 1 ? 1 : most / 2 * 2;  // as chunks_of cuts
}

bool has_few_weights(const ConvGeometry& g) { return patch_size(g) * g.out_c <= kFewWeights; }

// Pixels up to which a pointwise convolution is walked twice.
int64_t most_pixels_twice(const ConvGeometry& g) {
  return has_few_weights(g) ? most_partials(g) * kPixelsOfPartial : std::numeric_limits<int64_t>::max();
}

// The part of a kernel's gradient that a thread computes at once, when no pixels are cut.
struct KernelPart {
  int64_t rows, columns;
};
// At least eight parts where rows are left to cut, but no shorter ones: a column panel of the output's gradient is packed anew for every
// part, which its rows make up for.
KernelPart kernel_part_of(int64_t size, int64_t out) {
  constexpr int64_t kMostRows = 528, kFewestRows = 72, kMostColumns = 64, kFewestColumns = 32, kParts = 8;
  KernelPart part{kMostRows, kMostColumns};
  const auto parts = [&] { return ((size + part.rows - 1) / part.rows) * ((out + part.columns - 1) / part.columns); };
  if (parts() < kParts) part.columns = kFewestColumns;
  while (parts() < kParts && part.rows > kFewestRows) part.rows = (part.rows / 2 + 11) / 12 * 12;
  return part;
}

int64_t pairs(int64_t n) { return (n + 1) / 2; }

// Rows that are worked on at once: about 256 KB of the wider operand, a multiple of every register tile's height.
int64_t block_rows(const ConvGeometry& g) { return std::clamp<int64_t>(65536 / std::max(patch_size(g), g.out_c) / 24, 1, 10) * 24; }

// Elements of bfloat16 pairs that a worker holds.
int64_t half_elements(const ConvGeometry& g) {
  const int64_t rows = block_rows(g);
  return std::max(rows * pairs(g.out_c), pairs(rows) * (patch_size(g) + g.out_c));
}

struct BackwardMemory {
  float* packed;         // the transposed kernel
  uint32_t* weights;     // the kernel in pairs
  uint32_t* halves;      // per worker, or of all rows
  float* gradient;       // per worker: rows of it
  float* values;         // per worker: rows of the input, or patches
  float* partials;       // per chunk
  float* bias_partials;  // per chunk: its sum, and that of a block
};

BackwardMemory plan(const ConvGeometry& g, int64_t rows, bool bf16, int threads, Carver& workspace) {
  const int64_t size = patch_size(g), block = block_rows(g);
  const bool few = has_few_weights(g);
  const int64_t all_pairs = pairs(std::min(rows * g.out_h * g.out_w, most_pixels_twice(g))) * (size + g.out_c);
  BackwardMemory memory;
  memory.packed = workspace.take<float>(packed_floats(g.out_c, size));
  memory.weights = workspace.take<uint32_t>(bf16 ? size * pairs(g.out_c) : 0);
  memory.halves = workspace.take<uint32_t>(!bf16 ? 0 : std::max(threads * half_elements(g), is_pointwise(g) ? all_pairs : 0));
  memory.gradient = workspace.take<float>(threads * block * g.out_c);
  memory.values = workspace.take<float>(threads * block * size);
  memory.partials = workspace.take<float>(few || !is_pointwise(g) ? most_partials(g) * size * g.out_c : 0);
  memory.bias_partials = workspace.take<float>(2 * kMostPartials * g.out_c);
  return memory;
}

// The two products of the backward pass, in f32 or on operands rounded to bfloat16.
class Products {
 public:
  Products(const ConvGeometry& g, bool bf16, const BackwardMemory& memory, const Context& context)
      : memory_(memory), context_(context), bf16_(bf16), size_(patch_size(g)), out_(g.out_c), half_elements_(half_elements(g)),
        half_rows_(pairs(block_rows(g))) {}

  void pack_kernel(const float* kernel) { right_ = pack(depth(), size_, rounded_kernel(kernel), true, memory_.packed, context_); }

  // target[pixels, size] = d · kernelᵀ for few pixels, without packing.
  void few_inputs(int64_t pixels, const float* kernel, const float* d, float* target) const {
    const Chunks chunks = chunks_of(pixels, kChunkElements / out_ + 1);
    if (bf16_) {
      context_.pool.parallel_for(chunks.count, [&](int64_t chunk) {
        const int64_t first = chunks.begin(chunk);
        halves().rows(chunks.length(chunk), out_, d + first * out_, memory_.halves + first * pairs(out_));
      });
    }
    gemm_few_rows(pixels, size_, depth(), bf16_ ? as_floats(memory_.halves) : d, rounded_kernel(kernel), gemm(), memory_.packed, target,
                  context_);
  }

  // target[count, size] = d · kernelᵀ
  void input(int64_t count, const float* d, float* target, int worker, const Upcoming& next = {}) const {
    const float* left = d;
    const int64_t k = depth();
    if (bf16_) {
      uint32_t* rounded = memory_.halves + worker * half_elements_;
      halves().rows(count, out_, d, rounded);
      left = as_floats(rounded);
    }
    GemmBlock product{count,        size_, k,      left,  k,     1,       right_.data, right_.row,
                      right_.panel, true,  target, size_, false, nullptr, -kInfinity,  kInfinity};
    product.instead_of_a = next;
    multiply(product);
  }

  // sum[size, out] (+)= valuesᵀ · d
  void kernel(int64_t count, const float* values, const float* d, bool add, float* sum, int worker, const Upcoming& next_x,
              const Upcoming& next_d) const {
    const float *left = values, *right = d;
    if (bf16_) {
      uint32_t* x_pairs = memory_.halves + worker * half_elements_;
      uint32_t* d_pairs = x_pairs + half_rows_ * size_;
      halves().row_pairs(count, size_, values, x_pairs);
      halves().row_pairs(count, out_, d, d_pairs);
      left = as_floats(x_pairs);
      right = as_floats(d_pairs);
    }
    GemmBlock part = kernel_part(0, size_, 0, out_, bf16_ ? pairs(count) : count, left, right, add, sum);
    part.instead_of_a = next_x;
    part.instead_of_b = next_d;
    multiply(part);
  }

  // The same for all rows of the batch, cut along the kernel's rows, which needs no partial sums.
  void whole_kernel(int64_t count, const float* x, const float* dy, float* sum) const {
    const float *left = x, *right = dy;
    if (bf16_) {
      uint32_t* x_pairs = memory_.halves;
      uint32_t* dy_pairs = x_pairs + pairs(count) * size_;
      const Chunks chunks = chunks_of(count, 2 * (kChunkElements / (size_ + out_)) + 2, 2);
      context_.pool.parallel_for(chunks.count, [&](int64_t chunk) {
        const int64_t first = chunks.begin(chunk), length = chunks.length(chunk);
        halves().row_pairs(length, size_, x + first * size_, x_pairs + first / 2 * size_);
        halves().row_pairs(length, out_, dy + first * out_, dy_pairs + first / 2 * out_);
      });
      left = as_floats(x_pairs);
      right = as_floats(dy_pairs);
    }
    const int64_t k = bf16_ ? pairs(count) : count;
    const KernelPart most = kernel_part_of(size_, out_);
    const int64_t row_parts = (size_ + most.rows - 1) / most.rows, column_parts = (out_ + most.columns - 1) / most.columns;
    context_.pool.parallel_for(row_parts * column_parts, [&](int64_t part) {
      const int64_t row = part / column_parts * most.rows, column = part % column_parts * most.columns;
      GemmBlock block =
          kernel_part(row, std::min(most.rows, size_ - row), column, std::min(most.columns, out_ - column), k, left, right, false, sum);
      block.instead_of_a = block.instead_of_b = nothing_upcoming(sum);
      multiply(block);
    });
  }

 private:
  const Bf16Product& halves() const { return *context_.kernels.bf16_product; }
  static const float* as_floats(const uint32_t* x) { return reinterpret_cast<const float*>(x); }
  // Rows [row, row + rows) and columns [column, column + columns) of the kernel's gradient.
  GemmBlock kernel_part(int64_t row, int64_t rows, int64_t column, int64_t columns, int64_t k, const float* left, const float* right,
                        bool add, float* sum) const {
    return {rows,
            columns,
            k,
            left + row,
            1,
            size_,
            right + column,
            out_,
            context_.kernels.f32->gemm_columns,
            false,
            sum + row * out_ + column,
            out_,
            add,
            nullptr,
            -kInfinity,
            kInfinity};
  }
  // Elements of a row of the output's gradient, or of the kernel.
  int64_t depth() const { return bf16_ ? pairs(out_) : out_; }
  const float* rounded_kernel(const float* kernel) const {
    if (!bf16_) return kernel;
    const Chunks chunks = chunks_of(size_, kChunkElements / out_ + 1);
    context_.pool.parallel_for(chunks.count, [&](int64_t chunk) {
      const int64_t begin = chunks.begin(chunk);
      halves().rows(chunks.length(chunk), out_, kernel + begin * out_, memory_.weights + begin * pairs(out_));
    });
    return as_floats(memory_.weights);
  }
  Gemm gemm() const { return bf16_ ? halves().gemm : context_.kernels.f32->gemm; }
  void multiply(const GemmBlock& block) const { gemm()(block); }

  const BackwardMemory& memory_;
  const Context& context_;
  bool bf16_;
  int64_t size_, out_, half_elements_, half_rows_;
  RightSide right_{};
};

// Pixels, or images where patches overlap: an image then belongs to one chunk, so that its patches are added up in a fixed order.
// At most `most` of them.
Chunks backward_chunks(const ConvGeometry& g, int64_t rows, int64_t most, const F32Kernels& kernels) {
  const int64_t unit = is_pointwise(g) ? 1 : g.out_h * g.out_w, total = rows * g.out_h * g.out_w / unit;
  const int64_t smallest = std::max((total + most - 1) / most, kChunkProducts / (patch_size(g) * g.out_c * unit) + 1);
  return chunks_of(total, smallest, is_pointwise(g) ? kernels.gemm_rows : 1).of(unit);
}

void walk(const ConvGeometry& g, int64_t rows, const LayerInput& x, const OutputGradient& gradient, const ConvGradients& targets,
          const Products& products, const BackwardMemory& memory, const Context& context) {
  const int64_t size = patch_size(g), out = g.out_c, block = block_rows(g), pixels = rows * g.out_h * g.out_w;
  const int64_t image = g.out_h * g.out_w, in_image = g.in_h * g.in_w;  // pixels of one
  const bool has_partials = targets.d_kernel != nullptr || targets.d_bias != nullptr;
  const Chunks chunks = backward_chunks(g, rows, has_partials ? most_partials(g) : kMaxChunks, *context.kernels.f32);
  if (targets.sums != nullptr) targets.sums->chunks = chunks.count;
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    const int64_t begin = chunks.begin(chunk), end = chunks.end(chunk);
    float* const partial = chunks.count == 1 ? targets.d_kernel : memory.partials + chunk * size * out;
    float* const bias_sum = memory.bias_partials + 2 * chunk * out;
    float* const values = memory.values + worker * block * size;
    if (targets.sums != nullptr) targets.sums->start(chunk);
    const int64_t in_begin = begin / image * in_image, in_count = (end - begin) / image * in_image;
    if (!is_pointwise(g) && targets.dx != nullptr) std::memset(targets.dx + in_begin * g.in_c, 0, sizeof(float) * in_count * g.in_c);
    for (int64_t first = begin; first < end; first += block) {
      const int64_t count = std::min(block, end - first);
      const float* d = gradient.dy + first * out;
      const int64_t after = first + count, next = std::min(block, pixels - after);
      Upcoming next_d{gradient.dy + after * out, next * out};
      if (gradient.delayed != nullptr) {
        float* settled = memory.gradient + worker * block * out;
        norm_gradient_rows(*gradient.delayed, first, count, d, settled, context.kernels);
        d = settled;
      }
      if (targets.dx != nullptr && is_pointwise(g)) products.input(count, d, targets.dx + first * size, worker, next_d);
      if (targets.dx != nullptr && !is_pointwise(g)) {
        products.input(count, d, values, worker, next_d);
        scatter_patches(g, values, first, count, targets.dx, *context.kernels.f32);
      }
      if (targets.sums != nullptr && is_pointwise(g)) targets.sums->take(chunk, first, count, targets.dx + first * size, context.kernels);
      if (targets.d_kernel != nullptr) {
        const Upcoming next_x = targets.dx == nullptr ? next_d : upcoming_rows(g, x, after, next);
        if (gradient.delayed != nullptr) next_d.data = gradient.delayed->x + after * out;
        products.kernel(count, patch_rows(g, x, first, count, values, context.kernels), d, first != begin, partial, worker, next_x, next_d);
      }
      if (targets.d_bias != nullptr) {
        context.kernels.f32->column_sums(count, out, d, first == begin ? bias_sum : bias_sum + out);
        if (first != begin) context.kernels.f32->add(out, bias_sum + out, bias_sum);
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
    context.kernels.f32->add(out, memory.bias_partials + 2 * chunk * out, targets.d_bias);
  }
}

void sum_bias_gradient(int64_t pixels, int64_t out, const float* dy, float* d_bias, const BackwardMemory& memory, const Context& context) {
  const Chunks parts = chunks_of(pixels, (pixels + kMostPartials - 1) / kMostPartials);
  context.pool.parallel_for(parts.count, [&](int64_t part) {
    context.kernels.f32->column_sums(parts.length(part), out, dy + parts.begin(part) * out, memory.bias_partials + part * out);
  });
  sum_partials(out, parts.count, memory.bias_partials, d_bias, context);
}

// Two walks, without partial sums of the kernel's gradient.
void walk_twice(const ConvGeometry& g, int64_t rows, const LayerInput& input, const OutputGradient& gradient, const ConvGradients& targets,
                const Products& products, const BackwardMemory& memory, const Context& context) {
  const int64_t size = patch_size(g), out = g.out_c, pixels = rows * g.out_h * g.out_w, block = block_rows(g);
  const float* const x = input.delayed == nullptr ? input.x : input.settled;
  const float* const dy = gradient.delayed == nullptr ? gradient.dy : gradient.settled;
  const Chunks chunks = chunks_of(pixels, kChunkProducts / (size * out) + 1, 24);
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
      if (targets.dx != nullptr) products.input(count, dy + first * out, targets.dx + first * size, worker);
      if (targets.sums != nullptr) targets.sums->take(chunk, first, count, targets.dx + first * size, context.kernels);
    }
  });
  if (targets.d_kernel != nullptr) products.whole_kernel(pixels, x, dy, targets.d_kernel);
  if (targets.d_bias != nullptr) sum_bias_gradient(pixels, out, dy, targets.d_bias, memory, context);
}

// Few pixels of a pointwise convolution: its kernel is far larger than they are, so it is read in place and cut instead of them.
bool has_few_pixels(const ConvGeometry& g, int64_t rows) { return is_pointwise(g) && has_few_rows(rows * g.out_h * g.out_w, g.in_c); }

void walk_kernel(const ConvGeometry& g, int64_t rows, const LayerInput& input, const float* kernel, const OutputGradient& gradient,
                 const ConvGradients& targets, const Products& products, const BackwardMemory& memory, const Context& context) {
  const int64_t size = patch_size(g), out = g.out_c, pixels = rows * g.out_h * g.out_w;
  const float* const dy = settle(gradient, pixels, context);
  if (targets.dx != nullptr) products.few_inputs(pixels, kernel, dy, targets.dx);
  if (targets.sums != nullptr) {
    const Chunks chunks = chunks_of(pixels, kChunkElements / size + 1);
    targets.sums->chunks = chunks.count;
    context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
      const int64_t first = chunks.begin(chunk);
      targets.sums->start(chunk);
      targets.sums->take(chunk, first, chunks.length(chunk), targets.dx + first * size, context.kernels);
    });
  }
  if (targets.d_kernel != nullptr) products.whole_kernel(pixels, settle(input, pixels, context), dy, targets.d_kernel);
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
  Products products(g, bf16, memory, context);
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
    }
  }
}

}  // namespace pcqat
