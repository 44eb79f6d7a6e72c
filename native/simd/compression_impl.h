// The compression kernels, compiled once per instruction set. No STL, no inline function shared with other units.
// The compiler must not contract a * b + c here: rounding is part of the contract.
#include "compression/fake_quant.h"
#include "simd/compression_kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

#include "simd/compression_vector.h"

// ------------------------------------------------------------------------------------------------- sources and loops

struct Plain {
  const float* x;
  template <typename V>
  typename V::F get(int64_t i, int64_t) const {
    return V::load(x + i);
  }
};

struct Masked {
  const float* x;
  const uint8_t* mask;
  template <typename V>
  typename V::F get(int64_t i, int64_t) const {
    return V::keep(mask + i) ? V::load(x + i) : V::floats(0);
  }
};

struct Gathered {
  const float* table;
  const int32_t* indices;
  template <typename V>
  typename V::F get(int64_t i, int64_t) const {
    return V::gather(table, V::load(indices + i));
  }
};

struct GatheredPerChannel {
  const float* table;
  const int32_t* indices;
  int32_t stride;
  template <typename V>
  typename V::F get(int64_t i, int64_t column) const {
    return V::gather(table, (V::iota() + static_cast<int32_t>(column)) * stride + V::load(indices + i));
  }
};

#if PCQAT_LANES == 16
struct GatheredSmall {
  const float* table;
  const int32_t* indices;
  SmallTable registers;
  template <typename V>
  typename V::F get(int64_t i, int64_t) const {
    if constexpr (V::lanes == 1)
      return table[indices[i]];
    else
      return registers.floats(V::load(indices + i));
  }
};
#endif

// Calls body(fetch) with the fetcher of the source's kind.
template <typename Body>
void with_fetch(const Source& s, Body&& body) {
  if (s.indices == nullptr) {
    if (s.mask == nullptr)
      body(Plain{s.x});
    else
      body(Masked{s.x, s.mask});
    return;
  }
  if (s.stride != 0) return body(GatheredPerChannel{s.x, s.indices, static_cast<int32_t>(s.stride)});
#if PCQAT_LANES == 16
  if (s.k <= 32) return body(GatheredSmall{s.x, s.indices, SmallTable(s.x, s.k)});
#endif
  body(Gathered{s.x, s.indices});
}

// Calls body(V{}, i, column) over the block, Wide where a whole vector fits into the rest of the row.
template <typename Body>
void walk(int64_t rows, int64_t columns, Body&& body) {
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t start = row * columns;
    int64_t column = 0;
    for (; column + Wide::lanes <= columns; column += Wide::lanes) body(Wide{}, start + column, column);
    for (; column < columns; ++column) body(Single{}, start + column, column);
  }
}

// The same for kernels that do not depend on the channel: one long row, unless the source does.
template <typename Body>
void walk_flat(int64_t rows, int64_t columns, const Source& s, Body&& body) {
  if (s.stride != 0)
    walk(rows, columns, body);
  else
    walk(1, rows * columns, body);
}

// --------------------------------------------------------------------------------------------- copy, mask, gather, max

void materialize(int64_t rows, int64_t columns, const Source& source, float* out) {
  with_fetch(source, [&](const auto fetch) {
    walk_flat(rows, columns, source, [&](auto v, int64_t i, int64_t c) {
      using V = decltype(v);
      V::store(out + i, fetch.template get<V>(i, c));
    });
  });
}

float max_abs(int64_t rows, int64_t columns, const Source& source) {
  Wide::F wide = Wide::floats(0);
  float single = 0;
  with_fetch(source, [&](const auto fetch) {
    walk_flat(rows, columns, source, [&](auto v, int64_t i, int64_t c) {
      using V = decltype(v);
      const auto a = V::abs(fetch.template get<V>(i, c));
      if constexpr (V::lanes == 1)
        single = a > single ? a : single;
      else
        wide = a > wide ? a : wide;
    });
  });
  const float best = Wide::max(wide);
  return best > single ? best : single;
}

void max_abs_channels(int64_t rows, int64_t columns, const Source& source, float* out) {
  if (columns == 1) {
    const float a = max_abs(rows, 1, source);
    if (a > out[0]) out[0] = a;
    return;
  }
  with_fetch(source, [&](const auto fetch) {
    walk(rows, columns, [&](auto v, int64_t i, int64_t c) {
      using V = decltype(v);
      const auto a = V::abs(fetch.template get<V>(i, c)), old = V::load(out + c);
      V::store(out + c, a > old ? a : old);
    });
  });
}

template <typename V>
void widen(typename V::F x, float* low, float* high) {
  const auto old_low = V::load(low), old_high = V::load(high);
  V::store(low, x < old_low ? x : old_low);
  V::store(high, x > old_high ? x : old_high);
}

void extremes_channels(int64_t rows, int64_t columns, const Source& source, float* low, float* high) {
  with_fetch(source, [&](const auto fetch) {
    walk(rows, columns, [&](auto v, int64_t i, int64_t c) {
      using V = decltype(v);
      widen<V>(fetch.template get<V>(i, c), low + c, high + c);
    });
  });
}

void extremes(int64_t rows, int64_t columns, const Source& source, float* low, float* high) {
  float lows[Wide::lanes], highs[Wide::lanes];
  for (int64_t lane = 0; lane < Wide::lanes; ++lane) lows[lane] = *low, highs[lane] = *high;
  with_fetch(source, [&](const auto fetch) {
    walk_flat(rows, columns, source, [&](auto v, int64_t i, int64_t c) {
      using V = decltype(v);
      widen<V>(fetch.template get<V>(i, c), lows, highs);
    });
  });
  for (int64_t lane = 0; lane < Wide::lanes; ++lane) {
    *low = lows[lane] < *low ? lows[lane] : *low;
    *high = highs[lane] > *high ? highs[lane] : *high;
  }
}

#include "simd/compression_quantize.h"
#include "simd/compression_search.h"
#include "simd/compression_verify.h"
// Needs the others.
#include "simd/compression_cluster.h"
#include "simd/compression_magnitude.h"

}  // namespace

constexpr CompressionKernels kernels{materialize,
                                     max_abs,
                                     max_abs_channels,
                                     extremes,
                                     extremes_channels,
                                     assign,
                                     fake_quantize,
                                     fake_quantize_channels,
                                     fake_quantize_gradient,
                                     fake_quantize_gradient_channels,
                                     count_violations,
                                     cluster,
                                     sift_magnitudes,
                                     mark_magnitudes};

}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
