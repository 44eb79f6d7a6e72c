// The register tile of the matrix product: up to kRows rows of up to kVectors vectors, or up to kNarrowRows rows of one.
#pragma once

#include "simd/f32_kernels.h"
#include "simd/f32_vector.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

#if defined(PCQAT_F32_SCALAR)
constexpr int kRows = 4, kVectors = 2;
#elif defined(__AVX512F__)
constexpr int kRows = 12, kVectors = 2;  // 24 accumulators of 32 registers
#elif defined(__AVX2__)
constexpr int kRows = 6, kVectors = 2;  // 12 of 16
#else
constexpr int kRows = 8, kVectors = 3;  // 24 of 32
#endif
constexpr int kColumns = kVectors * kLanes;
// One vector a row leaves registers for more rows, which share what is loaded of b.
constexpr int kNarrowRows = kRows * kVectors;

// The product of f32. Others (simd/avx512vnni, simd/avx512bf16) hold several narrow values in the 32 bits of a lane.
struct F32Product {
  static PCQAT_INLINE Vec add(Vec sum, Vec factor, Vec column) { return fma(factor, column, sum); }
  template <typename Access>
  static PCQAT_INLINE Vec value(Vec sum, const GemmBlock&, int64_t, Access) {
    return sum;
  }
};

// A whole line of the cache that nobody reads soon; finish_streaming() before another thread may.
PCQAT_INLINE void store_past_cache(float* p, Vec v) {
#if defined(__AVX512F__) && !defined(PCQAT_F32_SCALAR)
  _mm512_stream_ps(p, v);
#else
  store(p, v);
#endif
}
PCQAT_INLINE void finish_streaming() {
#if defined(__AVX512F__) && !defined(PCQAT_F32_SCALAR)
  _mm_sfence();
#endif
}

// Memory that is fetched into the cache while a tile multiplies: a line at every step, `step` bytes apart.
struct Stream {
  uintptr_t at = 0;
  int64_t step = 0;
};
struct Streams {
  Stream first, second;
};

// R rows of V vectors of c, from column j on. `columns` <= V * kLanes of them exist.
template <typename Product, int R, int V>
void tile(const GemmBlock& g, int64_t k, const float* a, const float* b, int64_t j, int64_t columns, bool accumulate, bool last, float* c,
          const Streams& streams) {
  Vec sum[R][V];
  const int64_t in_last = columns - (V - 1) * kLanes;
  const bool whole = in_last == kLanes;
  if (accumulate) {
    PCQAT_UNROLL for (int i = 0; i < R; ++i) {
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        const float* p = c + i * g.c_row + v * kLanes;
        sum[i][v] = whole || v < V - 1 ? load(p) : load_n(p, in_last);
      }
    }
  } else {
    PCQAT_UNROLL for (int i = 0; i < R; ++i) { PCQAT_UNROLL for (int v = 0; v < V; ++v) sum[i][v] = Vec{}; }
  }
  const int64_t a_row = g.a_row, a_k = g.a_k, b_k = g.b_k;
  // A pointer to every third row: the two below are reached by addressing modes, so that twelve rows need few registers.
  constexpr int kGroups = (R + 2) / 3;
  const float* group[kGroups];
  PCQAT_UNROLL for (int q = 0; q < kGroups; ++q) {
    group[q] = a + 3 * q * a_row;
    __asm__("" : "+r"(group[q]));  // or the compiler derives one from the other again
  }
  const auto step = [&](const Vec(&column)[V]) PCQAT_INLINE_LAMBDA {
    PCQAT_UNROLL for (int i = 0; i < R; ++i) {
      const Vec factor = splat(group[i / 3][i % 3 * a_row]);
      PCQAT_UNROLL for (int v = 0; v < V; ++v) sum[i][v] = Product::add(sum[i][v], factor, column[v]);
    }
    PCQAT_UNROLL for (int q = 0; q < kGroups; ++q) group[q] += a_k;
    b += b_k;
  };
  // A row of b that is not padded may be read beyond its end as long as rows follow.
  const int64_t missing = whole || g.b_padded ? 0 : kLanes - in_last;
  const int64_t careful = missing == 0 ? 0 : (missing + b_k - 1) / b_k;
  Stream first = streams.first, second = streams.second;
  const int64_t length = g.parts == 1 ? k : g.part_k;
  int64_t l = 0;
  for (int64_t part = 1;; ++part) {
    for (; l < length - careful; ++l) {
      __builtin_prefetch(reinterpret_cast<const void*>(first.at));
      __builtin_prefetch(reinterpret_cast<const void*>(second.at));
      first.at += first.step;
      second.at += second.step;
      Vec column[V];
      PCQAT_UNROLL for (int v = 0; v < V; ++v) column[v] = load(b + v * kLanes);
      step(column);
    }
    if (part == g.parts) break;
    l = 0;
    PCQAT_UNROLL for (int q = 0; q < kGroups; ++q) group[q] += g.a_part - length;
  }
  for (; l < length; ++l) {
    Vec column[V];
    PCQAT_UNROLL for (int v = 0; v < V - 1; ++v) column[v] = load(b + v * kLanes);
    column[V - 1] = load_n(b + (V - 1) * kLanes, in_last);
    step(column);
  }
  const Vec low = splat(g.low), high = splat(g.high);
  const bool stream = g.stream && last && ((reinterpret_cast<uintptr_t>(c) | static_cast<uintptr_t>(g.c_row) * sizeof(float)) & 63) == 0;
  const auto finish = [&](int v, auto access) PCQAT_INLINE_LAMBDA {
    const int64_t column = j + v * kLanes;
    const Vec offset = last && g.bias != nullptr ? access.load(g.bias + column) : Vec{};
    PCQAT_UNROLL for (int i = 0; i < R; ++i) {
      const Vec value = last ? clamp(Product::value(sum[i][v], g, column, access) + offset, low, high) : sum[i][v];
      float* const to = c + i * g.c_row + v * kLanes;
      if (stream && access.lanes() == kLanes)
        store_past_cache(to, value);
      else
        access.store(to, value);
    }
  };
  PCQAT_UNROLL for (int v = 0; v < V - 1; ++v) finish(v, Whole{});
  if (whole)
    finish(V - 1, Whole{});
  else
    finish(V - 1, Part{in_last});
}

using Tile = void (*)(const GemmBlock&, int64_t, const float*, const float*, int64_t, int64_t, bool, bool, float*, const Streams&);

template <typename Product, int V>
Tile tile_of(int64_t rows) {
  constexpr int kMost = V == 1 ? kNarrowRows : kRows;
  switch (rows) {
#define PCQAT_TILE(R)             \
  case R:                         \
    if constexpr (R <= kMost)     \
      return tile<Product, R, V>; \
    else                          \
      break;
    // clang-format off
    PCQAT_TILE(1) PCQAT_TILE(2) PCQAT_TILE(3) PCQAT_TILE(4) PCQAT_TILE(5) PCQAT_TILE(6)
    PCQAT_TILE(7) PCQAT_TILE(8) PCQAT_TILE(9) PCQAT_TILE(10) PCQAT_TILE(11) PCQAT_TILE(12)
    PCQAT_TILE(13) PCQAT_TILE(14) PCQAT_TILE(15) PCQAT_TILE(16) PCQAT_TILE(17) PCQAT_TILE(18)
    PCQAT_TILE(19) PCQAT_TILE(20) PCQAT_TILE(21) PCQAT_TILE(22) PCQAT_TILE(23) PCQAT_TILE(24)
    // clang-format on
#undef PCQAT_TILE
  }
  return nullptr;
}

template <typename Product>
Tile tile_of(int64_t rows, int64_t columns) {
  const int64_t vectors = (columns + kLanes - 1) / kLanes;
  if (vectors == 1) return tile_of<Product, 1>(rows);
  if (vectors == 2) return tile_of<Product, 2>(rows);
  return tile_of<Product, kVectors>(rows);
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
