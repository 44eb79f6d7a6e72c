#include "ops/conv_products.h"

#include <algorithm>

#include "ops/chunks.h"
#include "ops/finish.h"
#include "ops/patches.h"
#include "parallel/thread_pool.h"

namespace pcqat {

namespace {

// From here on a gradient that is written at once has left the cache when the optimizer reads it; written past it, it is not read before.
constexpr int64_t kStreamedFloats = 1 << 20;

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

// Pairs of bfloat16 that a worker holds: rows of the output's gradient, or rows of both operands, two as one.
int64_t worker_pairs(int64_t size, int64_t out, int64_t block) { return std::max(block * pairs(out), pairs(block) * (size + out)); }

const float* as_floats(const uint32_t* x) { return reinterpret_cast<const float*>(x); }

}  // namespace

ConvProducts::Memory ConvProducts::plan(const ConvGeometry& g, bool bf16, int64_t block, int64_t all, int threads, Carver& workspace) {
  const int64_t size = patch_size(g), out = g.out_c;
  Memory memory;
  memory.packed = workspace.take<float>(packed_floats(out, size));
  memory.weights = workspace.take<uint32_t>(bf16 ? size * pairs(out) : 0);
  memory.halves = workspace.take<uint32_t>(bf16 ? std::max(threads * worker_pairs(size, out, block), worker_pairs(size, out, all)) : 0);
  return memory;
}

ConvProducts::ConvProducts(const ConvGeometry& g, bool bf16, int64_t block, const Memory& memory, const Context& context)
    : memory_(memory), context_(context), bf16_(bf16), size_(patch_size(g)), out_(g.out_c), block_(block) {}

int64_t ConvProducts::depth() const { return bf16_ ? pairs(out_) : out_; }

Gemm ConvProducts::gemm() const { return bf16_ ? halves().gemm : context_.kernels.f32->gemm; }

const float* ConvProducts::rounded_kernel(const float* kernel) const {
  if (!bf16_) return kernel;
  const Chunks chunks = chunks_of(size_, kChunkElements / out_ + 1);
  context_.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t begin = chunks.begin(chunk);
    halves().rows(chunks.length(chunk), out_, kernel + begin * out_, memory_.weights + begin * pairs(out_));
  });
  return as_floats(memory_.weights);
}

void ConvProducts::pack_kernel(const float* kernel) {
  right_ = pack(depth(), size_, rounded_kernel(kernel), true, memory_.packed, context_);
}

void ConvProducts::few_inputs(int64_t pixels, const float* kernel, const float* d, float* target) const {
  if (bf16_) {
    const Chunks chunks = chunks_of(pixels, kChunkElements / out_ + 1);
    context_.pool.parallel_for(chunks.count, [&](int64_t chunk) {
      const int64_t first = chunks.begin(chunk);
      halves().rows(chunks.length(chunk), out_, d + first * out_, memory_.halves + first * pairs(out_));
    });
  }
  gemm_few_rows(pixels, size_, depth(), bf16_ ? as_floats(memory_.halves) : d, rounded_kernel(kernel), gemm(), memory_.packed, target,
                context_);
}

void ConvProducts::input(int64_t count, const Rows& d, float* target, int worker, const Upcoming& next) const {
  Rows left = d;
  const int64_t k = depth();
  if (bf16_) {
    uint32_t* rounded = memory_.halves + worker * worker_pairs(size_, out_, block_);
    halves().rows(count, out_, d.data, rounded);
    left = {as_floats(rounded), k};
  }
  GemmBlock product{count,        size_, k,      left.data, left.row, 1,       right_.data, right_.row,
                    right_.panel, true,  target, size_,     false,    nullptr, -kInfinity,  kInfinity};
  product.instead_of_a = next;
  gemm()(product);
}

// Rows [row, row + rows) and columns [column, column + columns) of the kernel's gradient.
GemmBlock ConvProducts::kernel_part(int64_t row, int64_t rows, int64_t column, int64_t columns, int64_t k, const float* left,
                                    const Rows& right, bool add, float* sum) const {
  return {rows,
          columns,
          k,
          left + row,
          1,
          size_,
          right.data + column,
          right.row,
          context_.kernels.f32->gemm_columns,
          right.row > out_,
          sum + row * out_ + column,
          out_,
          add,
          nullptr,
          -kInfinity,
          kInfinity};
}

void ConvProducts::kernel(int64_t count, const float* values, const Rows& d, bool add, float* sum, int worker, const Upcoming& next_x,
                          const Upcoming& next_d) const {
  const float* left = values;
  Rows right = d;
  if (bf16_) {
    uint32_t* x_pairs = memory_.halves + worker * worker_pairs(size_, out_, block_);
    uint32_t* d_pairs = x_pairs + pairs(block_) * size_;
    halves().row_pairs(count, size_, values, x_pairs);
    halves().row_pairs(count, out_, d.data, d_pairs);
    left = as_floats(x_pairs);
    right = {as_floats(d_pairs), out_};
  }
  GemmBlock part = kernel_part(0, size_, 0, out_, bf16_ ? pairs(count) : count, left, right, add, sum);
  part.instead_of_a = next_x;
  part.instead_of_b = next_d;
  gemm()(part);
}

void ConvProducts::whole_kernel(int64_t count, const float* x, const float* dy, float* sum) const {
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
    GemmBlock block = kernel_part(row, std::min(most.rows, size_ - row), column, std::min(most.columns, out_ - column), k, left,
                                  {right, out_}, false, sum);
    block.instead_of_a = block.instead_of_b = nothing_upcoming(sum);
    block.stream = size_ * out_ >= kStreamedFloats;
    gemm()(block);
  });
}

}  // namespace pcqat
