// Depthwise convolution, vectorised over channels.
#pragma once

#include "simd/f32_kernels.h"
#include "simd/f32_vector.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

// P consecutive pixels of V vectors of channels: the kernel is loaded once for all pixels, the offsets once for all.
template <int P, int V, typename Access>
PCQAT_INLINE void depthwise_tile(const DepthwiseSpan& s, Access access, const float* x, const float* kernel, const float* bias, Vec low,
                                 Vec high, float* y) {
  Vec sum[P][V];
  PCQAT_UNROLL for (int v = 0; v < V; ++v) {
    const Vec start = bias == nullptr ? Vec{} : access.load(bias + v * kLanes);
    PCQAT_UNROLL for (int p = 0; p < P; ++p) sum[p][v] = start;
  }
  for (int64_t t = 0; t < s.taps; ++t) {
    const float* in = x + s.x_offset[t];
    const float* weights = kernel + s.w_offset[t];
    PCQAT_UNROLL for (int v = 0; v < V; ++v) {
      const Vec weight = access.load(weights + v * kLanes);
      PCQAT_UNROLL for (int p = 0; p < P; ++p) sum[p][v] = fma(access.load(in + p * s.x_step + v * kLanes), weight, sum[p][v]);
    }
  }
  PCQAT_UNROLL for (int p = 0; p < P; ++p) {
    PCQAT_UNROLL for (int v = 0; v < V; ++v) access.store(y + p * s.y_step + v * kLanes, clamp(sum[p][v], low, high));
  }
}

void depthwise(const DepthwiseSpan& s, const float* x, const float* kernel, const float* bias, float low, float high, float* y) {
  const Vec lowest = splat(low), highest = splat(high);
  for_channels(s.channels, [&](int64_t c, auto access, auto count) {
    constexpr int V = decltype(count)::value;
    const float* const offset = bias == nullptr ? nullptr : bias + c;
    const auto tile = [&](auto pixels, int64_t p) {
      depthwise_tile<decltype(pixels)::value, V>(s, access, x + c + p * s.x_step, kernel + c, offset, lowest, highest,
                                                 y + c + p * s.y_step);
    };
    int64_t p = 0;
    for (; p + 4 <= s.pixels; p += 4) tile(Count<4>{}, p);
    if (s.pixels - p == 3)
      tile(Count<3>{}, p);
    else if (s.pixels - p == 2)
      tile(Count<2>{}, p);
    else if (s.pixels - p == 1)
      tile(Count<1>{}, p);
  });
}

// T kernel elements of V vectors of channels at once: their sums stay in registers while the span goes by.
template <int T, int V, typename Access>
PCQAT_INLINE void depthwise_gradient_taps(const DepthwiseSpan& s, Access access, int64_t first, const float* x, const float* dy,
                                          float* d_kernel) {
  Vec sum[T][V];
  const float* in[T];
  PCQAT_UNROLL for (int t = 0; t < T; ++t) {
    PCQAT_UNROLL for (int v = 0; v < V; ++v) sum[t][v] = access.load(d_kernel + s.w_offset[first + t] + v * kLanes);
    in[t] = x + s.x_offset[first + t];
  }
  for (int64_t p = 0; p < s.pixels; ++p) {
    Vec gradient[V];
    PCQAT_UNROLL for (int v = 0; v < V; ++v) gradient[v] = access.load(dy + p * s.y_step + v * kLanes);
    PCQAT_UNROLL for (int t = 0; t < T; ++t) {
      PCQAT_UNROLL for (int v = 0; v < V; ++v) sum[t][v] = fma(access.load(in[t] + p * s.x_step + v * kLanes), gradient[v], sum[t][v]);
    }
  }
  PCQAT_UNROLL for (int t = 0; t < T; ++t) {
    PCQAT_UNROLL for (int v = 0; v < V; ++v) access.store(d_kernel + s.w_offset[first + t] + v * kLanes, sum[t][v]);
  }
}

template <int V, typename Access>
PCQAT_INLINE void depthwise_gradient_channels(const DepthwiseSpan& s, Access access, const float* x, const float* dy, float* d_kernel) {
  int64_t t = 0;
  for (; t + 9 <= s.taps; t += 9) depthwise_gradient_taps<9, V>(s, access, t, x, dy, d_kernel);
  for (; t + 6 <= s.taps; t += 6) depthwise_gradient_taps<6, V>(s, access, t, x, dy, d_kernel);
  for (; t + 2 <= s.taps; t += 2) depthwise_gradient_taps<2, V>(s, access, t, x, dy, d_kernel);
  for (; t < s.taps; ++t) depthwise_gradient_taps<1, V>(s, access, t, x, dy, d_kernel);
}

void depthwise_gradient(const DepthwiseSpan& s, const float* x, const float* dy, float* d_kernel) {
  // Spans are short at small sizes, and finding their taps costs as much as a pixel: two vectors share it where 32 registers hold their
  // sums.
  constexpr int kShared = kLanes == 16 ? 2 : 1;
  int64_t c = 0;
  for (; c + kShared * kLanes <= s.channels; c += kShared * kLanes) {
    depthwise_gradient_channels<kShared>(s, Whole{}, x + c, dy + c, d_kernel + c);
  }
  for_vectors(s.channels - c, [&](int64_t rest, auto access) {
    depthwise_gradient_channels<1>(s, access, x + c + rest, dy + c + rest, d_kernel + c + rest);
  });
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
