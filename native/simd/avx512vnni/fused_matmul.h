// The matrix product of codes with requantized results: tiles of kFusedRows rows x up to four vectors.
#pragma once

#include "simd/avx512vnni/fused_block.h"

namespace pcqat::avx512vnni {

constexpr int kFusedRows = 6;

// A block: its constants, then for each group of four taps a vector of weights per vector of channels.
static int64_t fused_groups(int64_t k) { return (k + 3) / 4; }
static int64_t fused_vectors(int64_t columns) { return columns >= kFusedBlock ? 4 : (columns + 15) / 16; }

static int64_t fused_block_bytes(int64_t columns, int64_t k) {
  return static_cast<int64_t>(sizeof(FusedBlock)) + fused_groups(k) * fused_vectors(columns) * 64;
}

static int64_t fused_bytes(int64_t n, int64_t k) {
  return n / kFusedBlock * fused_block_bytes(kFusedBlock, k) + (n % kFusedBlock == 0 ? 0 : fused_block_bytes(n % kFusedBlock, k));
}

static bool pack_fused(const int8_t* weights, const int32_t* bias, int64_t n, int64_t k, const Requantization& parameters, void* packed) {
  char* out = static_cast<char*>(packed);
  memset(packed, 0, fused_bytes(n, k));
  for (int64_t j = 0; j < n; j += kFusedBlock) {
    const int64_t columns = n - j < kFusedBlock ? n - j : kFusedBlock, vectors = fused_vectors(columns);
    const bool interleaved = columns == kFusedBlock;
    int64_t sum[kFusedBlock] = {}, magnitude[kFusedBlock] = {};
    int8_t* packed_weights = reinterpret_cast<int8_t*>(out + sizeof(FusedBlock));
    for (int64_t position = 0; position < 16 * vectors; ++position) {
      const int64_t c = fused_channel(position, interleaved);
      if (c >= columns) continue;
      for (int64_t t = 0; t < k; ++t) {
        const int8_t w = weights[(j + c) * k + t];
        sum[c] += w;
        magnitude[c] += w < 0 ? -w : w;
        packed_weights[(t / 4 * vectors * 16 + position) * 4 + t % 4] = w;
      }
    }
    if (!make_block(*reinterpret_cast<FusedBlock*>(out), j, columns, n, interleaved, bias, sum, magnitude, parameters)) return false;
    out += fused_block_bytes(columns, k);
  }
  return true;
}

template <bool kRectified, int R, int V>
static inline void fused_tile(const int8_t* a, int64_t lda, const char* block, int64_t group_count, int64_t columns, __m512i low,
                              __m512i high, int8_t* out, int64_t ldc) {
  const FusedBlock& constants = *reinterpret_cast<const FusedBlock*>(block);
  const char* weights = block + sizeof(FusedBlock);
  const __m512i flip = _mm512_set1_epi8(-128);
  __m512i sums[R][V];
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) {
    const __m512i bias = _mm512_loadu_si512(constants.bias + 16 * v);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r][v] = bias;
  }
  for (int64_t g = 0; g < group_count; ++g, weights += V * 64) {
    __m512i w[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) w[v] = _mm512_loadu_si512(weights + 64 * v);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      int32_t four;
      __builtin_memcpy(&four, a + r * lda + 4 * g, 4);
      const __m512i taps = _mm512_xor_si512(_mm512_set1_epi32(four), flip);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) add_products(sums[r][v], taps, w[v]);
    }
  }
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) {
    const FusedConstants c = fused_constants(constants, v);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r][v] = fused_requantize<kRectified>(sums[r][v], c);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    int8_t* row = out + r * ldc;
    if constexpr (V == 4) {
      if (columns >= kFusedBlock) {
        _mm512_storeu_si512(row, fused_bytes_of(sums[r][0], sums[r][1], sums[r][2], sums[r][3], low, high));
        continue;
      }
    }
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      const __m128i bytes = _mm512_cvtsepi32_epi8(sums[r][v]);
      const __m128i bounded = _mm_min_epi8(_mm_max_epi8(bytes, _mm512_castsi512_si128(low)), _mm512_castsi512_si128(high));
      store_first(row + 16 * v, bounded, columns - 16 * v);
    }
  }
}

template <bool kRectified, int V>
static void fused_columns(const int8_t* a, int64_t m, int64_t lda, const char* block, int64_t group_count, int64_t columns, __m512i low,
                          __m512i high, int8_t* out, int64_t ldc) {
  // Narrow blocks take more rows, so that as many sums are under way.
  constexpr int kRowsHere = V <= 2 ? 2 * kFusedRows : kFusedRows;
  int64_t i = 0;
  for (; i + kRowsHere <= m; i += kRowsHere) {
    fused_tile<kRectified, kRowsHere, V>(a + i * lda, lda, block, group_count, columns, low, high, out + i * ldc, ldc);
  }
  for (; i + 3 <= m; i += 3) fused_tile<kRectified, 3, V>(a + i * lda, lda, block, group_count, columns, low, high, out + i * ldc, ldc);
  for (; i < m; ++i) fused_tile<kRectified, 1, V>(a + i * lda, lda, block, group_count, columns, low, high, out + i * ldc, ldc);
}

template <bool kRectified>
static void fused_blocks(const int8_t* a, int64_t m, int64_t lda, const char* block, int64_t n, int64_t k, __m512i low, __m512i high,
                         int8_t* out, int64_t ldc) {
  const int64_t groups = fused_groups(k);
  for (int64_t j = 0; j < n; j += kFusedBlock) {
    const int64_t columns = n - j < kFusedBlock ? n - j : kFusedBlock;
    switch (fused_vectors(columns)) {
      case 1: fused_columns<kRectified, 1>(a, m, lda, block, groups, columns, low, high, out + j, ldc); break;
      case 2: fused_columns<kRectified, 2>(a, m, lda, block, groups, columns, low, high, out + j, ldc); break;
      case 3: fused_columns<kRectified, 3>(a, m, lda, block, groups, columns, low, high, out + j, ldc); break;
      default: fused_columns<kRectified, 4>(a, m, lda, block, groups, columns, low, high, out + j, ldc);
    }
    block += fused_block_bytes(columns, k);
  }
}

static void fused_matmul(const int8_t* a, int64_t m, int64_t lda, const void* packed, int64_t n, int64_t k, const Requantization& p,
                         int8_t* out, int64_t ldc) {
  const __m512i low = _mm512_set1_epi8(static_cast<char>(p.low)), high = _mm512_set1_epi8(static_cast<char>(p.high));
  const auto blocks = is_rectified(p) ? fused_blocks<true> : fused_blocks<false>;
  blocks(a, m, lda, static_cast<const char*>(packed), n, k, low, high, out, ldc);
}

}  // namespace pcqat::avx512vnni
