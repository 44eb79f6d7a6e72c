// Matrix products of narrow values, where an instruction set has instructions for them. They take a GemmBlock whose a and b
// hold several values in the 32 bits of each element, so that one tile (simd/gemm_impl.h) serves them all; k and the
// strides count those elements.
#pragma once

#include <stdint.h>

namespace pcqat {

struct GemmBlock;  // simd/f32_kernels.h

constexpr int64_t kPackedCodes = 128;
constexpr int64_t kTableCodes = 64;

// Activations as unsigned and weights as signed 8-bit codes, four along k in an element: exact sums in int32.
struct CodeProduct {
  // Rows of fake-quantized values as codes, x / scale + zero_code, a row of `out` being (k + 3) / 4 elements, the rest of the
  // last one 0. False if a value is NaN.
  bool (*encode)(int64_t rows, int64_t k, const float* x, float inverse_scale, float zero_code, uint32_t* out);
  // Columns [first, first + width) of a weight [k, n] (f32 multiples of 1 / inverse_scale[j], signed codes), at most kPackedCodes of them,
  // as column panels one after the other, (k + 3) / 4 rows of `gemm_columns` elements each; sums[j] = Σ codes of column j.
  void (*pack)(int64_t k, int64_t n, const float* weight, const float* inverse_scale, int64_t first, int64_t width, uint32_t* panels,
               int32_t* sums);
  // The same of a weight that is table[index], from a table of kTableCodes values with one scale; any width.
  void (*pack_indices)(int64_t k, int64_t n, const uint8_t* indices, const float* table, float inverse_scale, int64_t first, int64_t width,
                       uint32_t* panels, int32_t* sums);
  void (*gemm)(const GemmBlock& block);
};

// bfloat16, two along k in an element; sums in f32. Rounded to nearest, ties to even; denormals count as zero.
struct Bf16Product {
  // Rows, pairs along the row: (columns + 1) / 2 elements each, a missing value is 0.
  void (*rows)(int64_t rows, int64_t columns, const float* x, uint32_t* out);
  // Columns, pairs of neighbouring rows: (rows + 1) / 2 rows of `columns` elements, a missing row is 0.
  void (*row_pairs)(int64_t rows, int64_t columns, const float* x, uint32_t* out);
  void (*gemm)(const GemmBlock& block);
};

}  // namespace pcqat
