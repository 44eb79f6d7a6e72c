// The matrix product as the operators of this folder use it: packing and chunking around the kernel.
#pragma once

#include "ops/common.h"
#include "ops/matmul.h"
#include "simd/f32_kernels.h"

namespace pcqat {

// Floats that packing a [k, n] right-hand side takes, for every instruction set.
inline int64_t packed_floats(int64_t k, int64_t n) { return k * (n + 31); }

// Right-hand side of a product, packed or in place.
struct RightSide {
  const float* data;
  int64_t row, panel;  // strides between rows and between column panels
  bool padded;
};

constexpr int64_t kFewRows = 64;

// Whether the right-hand side of m rows and n columns is worth packing: not for few rows, nor where chunked_gemm cuts along the columns, as
// every chunk then packs its own.
inline bool is_worth_packing(int64_t m, int64_t n) { return m > kFewRows && m >= n; }
RightSide in_place(const float* b, int64_t n, const Context& context);
// Packs b [k, n], or its transpose stored [n, k], into column panels.
RightSide pack(int64_t k, int64_t n, const float* b, bool transposed, float* packed, const Context& context);

// Upcoming memory of a block that no other follows in memory: fetching what does would be in the way. `any`: memory that is in use anyway.
inline Upcoming nothing_upcoming(const float* any) { return {any, 0}; }

// c[m,n] = a · b with a(i, l) = a[i * a_row + l * a_k], then bias and activation, cut into chunks of rows or of
// columns, whichever are more.
struct LeftSide {
  const float* data;
  int64_t row, k;
};
void chunked_gemm(int64_t m, int64_t n, int64_t k, const LeftSide& a, const RightSide& b, const float* bias, Activation activation,
                  float* c, const Context& context);

// Whether c[m,n] = a · bᵀ is better taken as (b · aᵀ)ᵀ, which reads b in place: its rows are far more than those of a.
inline bool has_few_rows(int64_t m, int64_t n) { return m <= kFewRows && 2 * m <= n; }
using Gemm = void (*)(const GemmBlock& block);
// That, with the bits of the product of a and a packed bᵀ; `packed` has packed_floats(k, m). `gemm`: that of the elements.
void gemm_few_rows(int64_t m, int64_t n, int64_t k, const float* a, const float* b, Gemm gemm, float* packed, float* c,
                   const Context& context);

}  // namespace pcqat
