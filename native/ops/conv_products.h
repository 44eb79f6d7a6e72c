// The two products of a convolution's backward pass, in f32 or on operands rounded to bfloat16.
#pragma once

#include "carver.h"
#include "ops/conv.h"
#include "ops/gemm.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"
#include "simd/product_kernels.h"

namespace pcqat {

class ConvProducts {
 public:
  struct Memory {
    float* packed;      // the transposed kernel
    uint32_t* weights;  // the kernel in pairs of bfloat16
    uint32_t* halves;   // operands in pairs: per worker, or of all rows
  };
  // `block`: most rows that input() and kernel() get; `all`: that few_inputs() and whole_kernel() get.
  static Memory plan(const ConvGeometry& g, bool bf16, int64_t block, int64_t all, int threads, Carver& workspace);

  ConvProducts(const ConvGeometry& g, bool bf16, int64_t block, const Memory& memory, const Context& context);

  // Rows of the output's gradient, `row` floats apart. Where that is more than their channels, whole vectors may be read; not with bf16.
  struct Rows {
    const float* data;
    int64_t row;
  };

  bool is_bf16() const { return bf16_; }

  // Before input().
  void pack_kernel(const float* kernel);
  // target[count, size] = d · kernelᵀ
  void input(int64_t count, const Rows& d, float* target, int worker, const Upcoming& next) const;
  // The same for few pixels, without packing.
  void few_inputs(int64_t pixels, const float* kernel, const float* d, float* target) const;
  // sum[size, out] (+)= valuesᵀ · d
  void kernel(int64_t count, const float* values, const Rows& d, bool add, float* sum, int worker, const Upcoming& next_x,
              const Upcoming& next_d) const;
  // The same for all rows of the batch, cut along the kernel, which needs no partial sums.
  void whole_kernel(int64_t count, const float* x, const float* dy, float* sum) const;

 private:
  const Bf16Product& halves() const { return *context_.kernels.bf16_product; }
  // Elements of a row of the output's gradient, or of the kernel.
  int64_t depth() const;
  // The operand as it is multiplied.
  const float* rounded_kernel(const float* kernel) const;
  GemmBlock kernel_part(int64_t row, int64_t rows, int64_t column, int64_t columns, int64_t k, const float* left, const Rows& right,
                        bool add, float* sum) const;
  Gemm gemm() const;

  Memory memory_;
  const Context& context_;
  bool bf16_;
  int64_t size_, out_, block_;
  RightSide right_{};
};

}  // namespace pcqat
