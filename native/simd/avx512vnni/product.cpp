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

PCQAT_INLINE __m512i codes(Vec v, Vec inverse_scale) { return _mm512_maskz_cvtps_epi32(0xffff, static_cast<__m512>(v * inverse_scale)); }

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

// Rows between those that are packed and those that are fetched: they lie on pages of their own, which no processor follows by itself.
constexpr int64_t kRowsAhead = 8;

// Four rows at a time across the columns, so that memory is read in long pieces.
void pack(int64_t k, int64_t n, const float* weight, const float* inverse_scale, int64_t column, int64_t width, uint32_t* panels,
          int32_t* sums) {
  constexpr int kMost = static_cast<int>(kPackedCodes / kLanes);
  const int64_t vectors = (width + kColumns - 1) / kColumns * kVectors, panel = (k + 3) / 4 * kColumns;
  const __m512i byte = _mm512_set1_epi32(255), ones = _mm512_set1_epi8(1);
  __mmask16 lanes[kMost];
  Vec factor[kMost];
  __m512i sum[kMost];
  for (int64_t v = 0; v < vectors; ++v) {
    const int64_t rest = width - v * kLanes;
    lanes[v] = rest >= kLanes ? 0xffff : rest > 0 ? first(rest) : 0;
    factor[v] = _mm512_maskz_loadu_ps(lanes[v], inverse_scale + column + v * kLanes);
    sum[v] = _mm512_setzero_si512();
  }
  const auto pack_rows = [&](int64_t l, auto rows) PCQAT_INLINE_LAMBDA {
    for (int64_t v = 0; v < vectors; ++v) {
      const float* from = weight + l * n + column + v * kLanes;
      __m512i four = _mm512_setzero_si512();
      PCQAT_UNROLL for (int t = 0; t < decltype(rows)::value; ++t, from += n) {
        __builtin_prefetch(from + kRowsAhead * n);
        const __m512i q = codes(_mm512_maskz_loadu_ps(lanes[v], from), factor[v]);
        four = _mm512_or_si512(four, _mm512_slli_epi32(_mm512_and_si512(q, byte), 8 * t));
      }
      sum[v] = _mm512_dpbusd_epi32(sum[v], ones, four);
      _mm512_storeu_si512(panels + v / kVectors * panel + l / 4 * kColumns + v % kVectors * kLanes, four);
    }
  };
  int64_t l = 0;
  for (; l + 4 <= k; l += 4) pack_rows(l, Count<4>{});
  if (k - l == 1) pack_rows(l, Count<1>{});
  if (k - l == 2) pack_rows(l, Count<2>{});
  if (k - l == 3) pack_rows(l, Count<3>{});
  for (int64_t v = 0; v < vectors; ++v) _mm512_mask_storeu_epi32(sums + column + v * kLanes, lanes[v], sum[v]);
}

// 64 bytes of a table of kTableCodes bytes, which lies in four registers, each repeated in every 128-bit lane.
struct CodeTable {
  __m512i part[kTableCodes / 16];

  CodeTable(const float* table, float inverse_scale) {
    const __m512i byte = _mm512_set1_epi32(255);
    for (int p = 0; p < kTableCodes / 16; ++p) {
      const __m512i values = _mm512_and_si512(codes(load(table + 16 * p), splat(inverse_scale)), byte);
      part[p] = _mm512_maskz_broadcast_i32x4(0xffff, _mm512_maskz_cvtepi32_epi8(0xffff, values));
    }
  }

  template <int parts>
  PCQAT_INLINE __m512i look_up(__m512i index) const {
    __m512i found = _mm512_shuffle_epi8(part[0], index);
    PCQAT_UNROLL for (int p = 1; p < parts; ++p) {
      const __m512i first = _mm512_set1_epi8(static_cast<char>(16 * p));
      found = _mm512_mask_shuffle_epi8(found, _mm512_cmpge_epu8_mask(index, first), part[p], index);
    }
    return found;
  }
};

// r[i] = the dwords of columns 16 i to 16 i + 15, whose bytes are those of four rows.
PCQAT_INLINE void interleave_rows(__m512i* r) {
  const __m512i a = _mm512_unpacklo_epi8(r[0], r[1]), b = _mm512_unpackhi_epi8(r[0], r[1]);
  const __m512i c = _mm512_unpacklo_epi8(r[2], r[3]), d = _mm512_unpackhi_epi8(r[2], r[3]);
  // Lane i holds columns 16 i to 16 i + 3, and so on.
  const __m512i x0 = _mm512_unpacklo_epi16(a, c), x1 = _mm512_unpackhi_epi16(a, c);
  const __m512i x2 = _mm512_unpacklo_epi16(b, d), x3 = _mm512_unpackhi_epi16(b, d);
  const __m512i front0 = _mm512_maskz_shuffle_i32x4(0xffff, x0, x1, 0x44), back0 = _mm512_maskz_shuffle_i32x4(0xffff, x0, x1, 0xee);
  const __m512i front1 = _mm512_maskz_shuffle_i32x4(0xffff, x2, x3, 0x44), back1 = _mm512_maskz_shuffle_i32x4(0xffff, x2, x3, 0xee);
  r[0] = _mm512_maskz_shuffle_i32x4(0xffff, front0, front1, 0x88);
  r[1] = _mm512_maskz_shuffle_i32x4(0xffff, front0, front1, 0xdd);
  r[2] = _mm512_maskz_shuffle_i32x4(0xffff, back0, back1, 0x88);
  r[3] = _mm512_maskz_shuffle_i32x4(0xffff, back0, back1, 0xdd);
}

void pack_indices(int64_t k, int64_t n, const uint8_t* indices, const float* table, float inverse_scale, int64_t column, int64_t width,
                  uint32_t* panels, int32_t* sums) {
  constexpr int64_t kAhead = 16;  // rows
  const CodeTable codes_of(table, inverse_scale);
  const __m512i ones = _mm512_set1_epi8(1);
  const int64_t panel = (k + 3) / 4 * kColumns, padded = (width + kColumns - 1) / kColumns * kColumns;
  for (int64_t j = 0; j < width; ++j) sums[column + j] = 0;
  for (int64_t l = 0; l < k; l += 4) {
    for (int64_t j = 0; j < width; j += 64) {
      const uint8_t* from = indices + l * n + column + j;
      const __mmask64 there = width - j >= 64 ? ~__mmask64{0} : (__mmask64{1} << (width - j)) - 1;
      __m512i rows[4];
      PCQAT_UNROLL for (int t = 0; t < 4; ++t, from += n) {
        rows[t] = _mm512_setzero_si512();
        if (l + t >= k) continue;
        __builtin_prefetch(from + kAhead * n);
        rows[t] = _mm512_maskz_mov_epi8(there, codes_of.look_up<kTableCodes / 16>(_mm512_maskz_loadu_epi8(there, from)));
      }
      interleave_rows(rows);
      PCQAT_UNROLL for (int v = 0; v < 4; ++v) {
        const int64_t at = j + 16 * v;
        if (at >= padded) break;
        _mm512_storeu_si512(panels + at / kColumns * panel + l / 4 * kColumns + at % kColumns, rows[v]);
        const __mmask16 lanes = width - at >= 16 ? 0xffff : width > at ? first(width - at) : 0;
        int32_t* sum = sums + column + at;
        _mm512_mask_storeu_epi32(sum, lanes, _mm512_dpbusd_epi32(_mm512_maskz_loadu_epi32(lanes, sum), ones, rows[v]));
      }
    }
  }
}

}  // namespace
}  // namespace avx512vnni

extern const CodeProduct code_product_avx512vnni;
const CodeProduct code_product_avx512vnni{avx512vnni::encode, avx512vnni::pack, avx512vnni::pack_indices,
                                          avx512vnni::gemm<avx512vnni::U8S8Product>};

}  // namespace pcqat
