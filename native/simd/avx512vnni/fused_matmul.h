// The matrix product of codes with requantized results: tiles of some rows x up to four vectors.
#pragma once

#include "simd/avx512vnni/fused_block.h"

namespace pcqat::avx512vnni {

// A block: its constants, then for each group of four taps (of one segment) a vector of weights per vector of channels.
static int64_t fused_groups(int64_t taps) { return (taps + 3) / 4; }
static int64_t fused_vectors(int64_t columns) { return columns >= kFusedBlock ? 4 : (columns + 15) / 16; }

static int64_t fused_block_bytes(int64_t columns, int64_t segments, int64_t taps) {
  return static_cast<int64_t>(sizeof(FusedBlock)) + segments * fused_groups(taps) * fused_vectors(columns) * 64;
}

static int64_t fused_bytes(int64_t n, int64_t segments, int64_t taps) {
  const int64_t rest = n % kFusedBlock;
  return n / kFusedBlock * fused_block_bytes(kFusedBlock, segments, taps) + (rest == 0 ? 0 : fused_block_bytes(rest, segments, taps));
}

static bool pack_fused(const int8_t* weights, const int32_t* bias, int64_t n, int64_t segments, int64_t taps,
                       const Requantization& parameters, void* packed) {
  char* out = static_cast<char*>(packed);
  const int64_t k = segments * taps, groups = fused_groups(taps);
  memset(packed, 0, fused_bytes(n, segments, taps));
  for (int64_t j = 0; j < n; j += kFusedBlock) {
    const int64_t columns = n - j < kFusedBlock ? n - j : kFusedBlock, vectors = fused_vectors(columns);
    const bool interleaved = columns == kFusedBlock;
    int64_t sum[kFusedBlock] = {}, magnitude[kFusedBlock] = {};
    int8_t* packed_weights = reinterpret_cast<int8_t*>(out + sizeof(FusedBlock));
    for (int64_t position = 0; position < 16 * vectors; ++position) {
      const int64_t c = fused_channel(position, interleaved);
      if (c >= columns) continue;
      for (int64_t i = 0; i < k; ++i) {
        const int64_t segment = i / taps, t = i % taps;
        const int8_t w = weights[(j + c) * k + i];
        sum[c] += w;
        magnitude[c] += w < 0 ? -w : w;
        packed_weights[((segment * groups + t / 4) * vectors * 16 + position) * 4 + t % 4] = w;
      }
    }
    if (!make_block(*reinterpret_cast<FusedBlock*>(out), j, columns, n, interleaved, bias, sum, magnitude, parameters)) return false;
    out += fused_block_bytes(columns, segments, taps);
  }
  return true;
}

// What the tiles of a block of columns share.
struct FusedProduct {
  const int64_t* offsets;
  int64_t segments, groups, stride;  // groups of a segment
  const char* block;
  int64_t columns;
  __m512i low, high;
  int64_t ldc;
};

// Stores rows of one or two full vectors, four vectors at once.
template <int V>
static PCQAT_INLINE void store_vectors(const __m512i* v, const FusedProduct& p, int8_t* out) {
  // Packing takes four channels of each vector in turn.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i bytes = _mm512_permutexvar_epi32(order, fused_bytes_of(v[0], v[1], v[2], v[3], p.low, p.high));
  if (p.ldc == 16 * V) {
    _mm512_storeu_si512(out, bytes);
  } else if constexpr (V == 2) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_castsi512_si256(bytes));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + p.ldc), _mm512_extracti64x4_epi64(bytes, 1));
  } else {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_castsi512_si128(bytes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + p.ldc), _mm512_extracti32x4_epi32(bytes, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 2 * p.ldc), _mm512_extracti32x4_epi32(bytes, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 3 * p.ldc), _mm512_extracti32x4_epi32(bytes, 3));
  }
}

template <int R, int V>
static PCQAT_INLINE void store_tile(const __m512i (&sums)[R][V], const FusedProduct& p, int8_t* out) {
  int first = 0;
  if constexpr (V == 4) {
    if (p.columns == kFusedBlock) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        _mm512_storeu_si512(out + r * p.ldc, fused_bytes_of(sums[r][0], sums[r][1], sums[r][2], sums[r][3], p.low, p.high));
      }
      return;
    }
  } else if constexpr (V < 3 && R >= 4 / V) {
    constexpr int kTogether = 4 / V;
    if (p.columns == 16 * V) {
#pragma GCC unroll 16
      for (int r = 0; r + kTogether <= R; r += kTogether) store_vectors<V>(sums[r], p, out + r * p.ldc);
      first = R / kTogether * kTogether;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    if (r < first) continue;
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      const __m128i bytes = _mm512_cvtsepi32_epi8(sums[r][v]);
      const __m128i bounded = _mm_min_epi8(_mm_max_epi8(bytes, _mm512_castsi512_si128(p.low)), _mm512_castsi512_si128(p.high));
      store_first(out + r * p.ldc + 16 * v, bounded, p.columns - 16 * v);
    }
  }
}

template <bool kRectified, int R, int V>
static PCQAT_INLINE void fused_tile(const int8_t* a, const FusedProduct& p, int8_t* out) {
  const FusedBlock& constants = *reinterpret_cast<const FusedBlock*>(p.block);
  const char* weights = p.block + sizeof(FusedBlock);
  const __m512i flip = _mm512_set1_epi8(-128);
  __m512i sums[R][V];
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) {
    const __m512i bias = _mm512_loadu_si512(constants.bias + 16 * v);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r][v] = bias;
  }
  for (int64_t s = 0; s < p.segments; ++s) {
    const int8_t* taken = a + p.offsets[s];
    for (int64_t g = 0; g < p.groups; ++g, weights += V * 64, taken += 4) {
      __m512i w[V];
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) w[v] = _mm512_loadu_si512(weights + 64 * v);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        int32_t four;
        __builtin_memcpy(&four, taken + r * p.stride, 4);
        const __m512i taps = _mm512_xor_si512(_mm512_set1_epi32(four), flip);
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) add_products(sums[r][v], taps, w[v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) {
    const FusedConstants c = fused_constants(constants, v);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r][v] = fused_requantize<kRectified>(sums[r][v], c);
  }
  store_tile<R, V>(sums, p, out);
}

// Few rows leave the multipliers waiting for the sums before: the last rows are shared evenly by two tiles. Narrow blocks take more rows
// at once, so that as many sums are under way.
template <int V>
static inline int64_t tile_rows(int64_t m) {
  if constexpr (V > 2) return m >= 12 || m == 6 ? 6 : m > 6 ? (m + 1) / 2 : m;
  return m >= 12 ? 12 : m >= 8 ? 8 : m >= 6 ? 6 : m >= 4 ? 4 : m;
}

template <bool kRectified, int V>
static void fused_columns(const int8_t* a, int64_t m, const FusedProduct& p, int8_t* out) {
  for (int64_t i = 0, rows = 0; i < m; i += rows, a += rows * p.stride, out += rows * p.ldc) {
    rows = tile_rows<V>(m - i);
    switch (rows) {
      case 1: fused_tile<kRectified, 1, V>(a, p, out); break;
      case 2: fused_tile<kRectified, 2, V>(a, p, out); break;
      case 3: fused_tile<kRectified, 3, V>(a, p, out); break;
      case 4: fused_tile<kRectified, 4, V>(a, p, out); break;
      case 6: fused_tile<kRectified, 6, V>(a, p, out); break;
      default:
        if constexpr (V > 2) {
          fused_tile<kRectified, 5, V>(a, p, out);
        } else if (rows == 8) {
          fused_tile<kRectified, 8, V>(a, p, out);
        } else {
          fused_tile<kRectified, 12, V>(a, p, out);
        }
    }
  }
}

template <bool kRectified>
static void fused_blocks(const CodeRows& rows, FusedProduct& p, int64_t n, int8_t* out) {
  for (int64_t j = 0; j < n; j += kFusedBlock) {
    p.columns = n - j < kFusedBlock ? n - j : kFusedBlock;
    switch (fused_vectors(p.columns)) {
      case 1: fused_columns<kRectified, 1>(rows.start, rows.count, p, out + j); break;
      case 2: fused_columns<kRectified, 2>(rows.start, rows.count, p, out + j); break;
      case 3: fused_columns<kRectified, 3>(rows.start, rows.count, p, out + j); break;
      default: fused_columns<kRectified, 4>(rows.start, rows.count, p, out + j);
    }
    p.block += fused_block_bytes(p.columns, rows.segments, rows.taps);
  }
}

static void fused_matmul(const CodeRows& rows, const void* packed, int64_t n, const Requantization& parameters, int8_t* out, int64_t ldc) {
  const __m512i low = _mm512_set1_epi8(static_cast<char>(parameters.low)), high = _mm512_set1_epi8(static_cast<char>(parameters.high));
  FusedProduct p{rows.offsets, rows.segments, fused_groups(rows.taps), rows.stride, static_cast<const char*>(packed), 0, low, high, ldc};
  const auto blocks = is_rectified(parameters) ? fused_blocks<true> : fused_blocks<false>;
  blocks(rows, p, n, out);
}

}  // namespace pcqat::avx512vnni
