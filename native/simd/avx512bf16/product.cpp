// GCC 12 warns about its own AVX-512 header when its functions are inlined (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define PCQAT_ISA_NAMESPACE avx512bf16
#include "simd/gemm_impl.h"
#include "simd/product_kernels.h"

namespace pcqat {
namespace avx512bf16 {
namespace {

struct PairProduct {
  static PCQAT_INLINE Vec add(Vec sum, Vec factor, Vec column) {
    return static_cast<Vec>(
        _mm512_dpbf16_ps(static_cast<__m512>(sum), reinterpret_cast<__m512bh>(factor), reinterpret_cast<__m512bh>(column)));
  }
  template <typename Access>
  static PCQAT_INLINE Vec value(Vec sum, const GemmBlock&, int64_t, Access) {
    return sum;
  }
};

PCQAT_INLINE __m512i rounded(Vec low, Vec high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(static_cast<__m512>(high), static_cast<__m512>(low)));
}

void rows(int64_t count, int64_t columns, const float* x, uint32_t* out) {
  for (int64_t i = 0; i < count; ++i, x += columns, out += (columns + 1) / 2) {
    int64_t j = 0;
    for (; j + 2 * kLanes <= columns; j += 2 * kLanes) _mm512_storeu_si512(out + j / 2, rounded(load(x + j), load(x + j + kLanes)));
    if (j >= columns) continue;
    const int64_t rest = columns - j, low = rest < kLanes ? rest : kLanes;
    const __m512i pairs = rounded(load_n(x + j, low), rest > kLanes ? load_n(x + j + kLanes, rest - kLanes) : Vec{});
    _mm512_mask_storeu_epi32(out + j / 2, first((rest + 1) / 2), pairs);
  }
}

void row_pairs(int64_t count, int64_t columns, const float* x, uint32_t* out) {
  alignas(64) uint16_t order[2 * kLanes];
  for (int i = 0; i < kLanes; ++i) {
    order[2 * i] = static_cast<uint16_t>(i);
    order[2 * i + 1] = static_cast<uint16_t>(kLanes + i);
  }
  const __m512i interleave = _mm512_load_si512(order);
  for (int64_t i = 0; i < count; i += 2, x += 2 * columns, out += columns) {
    const bool both = i + 1 < count;
    for_vectors(columns, [&](int64_t j, auto access) {
      const __m512i halves = rounded(access.load(x + j), both ? access.load(x + columns + j) : Vec{});
      access.store(reinterpret_cast<float*>(out) + j, reinterpret_cast<Vec>(_mm512_permutexvar_epi16(interleave, halves)));
    });
  }
}

}  // namespace
}  // namespace avx512bf16

extern const Bf16Product bf16_product_avx512bf16;
const Bf16Product bf16_product_avx512bf16{avx512bf16::rows, avx512bf16::row_pairs, avx512bf16::gemm<avx512bf16::PairProduct>};

}  // namespace pcqat
