// GCC 12 warns about its own AVX-512 header when its functions are inlined (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define PCQAT_ISA_NAMESPACE avx512vnni
#include "simd/gemm_impl.h"
#include "simd/product_kernels.h"

namespace pcqat {
namespace avx512vnni {
namespace {

PCQAT_INLINE __m512i bits(Vec v) { return reinterpret_cast<__m512i>(v); }

struct U8S8Product {
  static PCQAT_INLINE Vec add(Vec sum, Vec factor, Vec column) {
    return reinterpret_cast<Vec>(_mm512_dpbusd_epi32(bits(sum), bits(factor), bits(column)));
  }
  template <typename Access>
  static PCQAT_INLINE Vec value(Vec sum, const GemmBlock& g, int64_t j, Access access) {
    const __m512i correction = bits(access.load(reinterpret_cast<const float*>(g.correction + j)));
    return static_cast<Vec>(_mm512_cvtepi32_ps(_mm512_sub_epi32(bits(sum), correction))) * access.load(g.scale + j);
  }
};

PCQAT_INLINE __m512i codes(Vec v, Vec inverse_scale) { return _mm512_cvtps_epi32(static_cast<__m512>(v * inverse_scale)); }

bool encode(int64_t rows, int64_t k, const float* x, float inverse_scale, float zero_code, uint32_t* out) {
  const int64_t row_bytes = (k + 3) / 4 * 4;
  const Vec factor = splat(inverse_scale);
  const __m512i zero = _mm512_set1_epi32(static_cast<int32_t>(zero_code));
  __mmask16 nan = 0;
  uint8_t* row = reinterpret_cast<uint8_t*>(out);
  for (int64_t i = 0; i < rows; ++i, x += k, row += row_bytes) {
    int64_t l = 0;
    for (; l + kLanes <= k; l += kLanes) {
      const Vec v = load(x + l);
      nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(row + l), _mm512_cvtusepi32_epi8(_mm512_add_epi32(codes(v, factor), zero)));
    }
    if (l < row_bytes) {
      const Vec v = load_n(x + l, k - l);
      nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
      const __m512i values = _mm512_maskz_mov_epi32(first(k - l), _mm512_add_epi32(codes(v, factor), zero));
      _mm_mask_storeu_epi8(row + l, first(row_bytes - l), _mm512_cvtusepi32_epi8(values));
    }
  }
  return nan == 0;
}

void pack(int64_t k, int64_t n, const float* weight, const float* inverse_scale, int64_t column, int64_t width, uint32_t* panel,
          int32_t* sums) {
  const __m512i byte = _mm512_set1_epi32(255);
  for (int64_t v = 0; v < kColumns; v += kLanes) {
    const int64_t lanes = width - v < kLanes ? width - v : kLanes;
    const float* from = weight + column + v;
    uint32_t* to = panel + v;
    __m512i sum = _mm512_setzero_si512();
    const Vec factor = lanes > 0 ? load_n(inverse_scale + column + v, lanes) : Vec{};
    for (int64_t l = 0; l < k; l += 4, to += kColumns) {
      __m512i four = _mm512_setzero_si512();
      for (int64_t t = 0; t < 4 && l + t < k && lanes > 0; ++t) {
        const __m512i q = codes(load_n(from + (l + t) * n, lanes), factor);
        sum = _mm512_add_epi32(sum, q);
        four = _mm512_or_si512(four, _mm512_sll_epi32(_mm512_and_si512(q, byte), _mm_cvtsi32_si128(static_cast<int>(8 * t))));
      }
      _mm512_storeu_si512(to, four);
    }
    if (lanes > 0) _mm512_mask_storeu_epi32(sums + column + v, first(lanes), sum);
  }
}

}  // namespace
}  // namespace avx512vnni

extern const CodeProduct code_product_avx512vnni;
const CodeProduct code_product_avx512vnni{avx512vnni::encode, avx512vnni::pack, avx512vnni::gemm<avx512vnni::U8S8Product>};

}  // namespace pcqat
