// Depthwise convolution, vectorised over channels.
#pragma once

#include "simd/f32_kernels.h"
#include "simd/f32_vector.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

// Taps whose weights, or whose sums, stay in registers while a span goes by: a window of 3 x 3.
constexpr int kTaps = 9;
// Vectors of channels at once that have so many registers.
constexpr int kTapVectors = kLanes == 8 || kLanes == 1 ? 1 : 2;

// body(Count<taps>) if there are 1 to T of them.
template <int T, typename Body>
PCQAT_INLINE bool with_taps(int64_t taps, Body body) {
  if constexpr (T == 0)
    return false;
  else if (taps == T)
    return body(Count<T>{}), true;
  else
    return with_taps<T - 1>(taps, body);
}

// Fetches what comes next, a share for every vector: memory would otherwise rest while taps are multiplied.
class Fetching {
 public:
  PCQAT_INLINE explicit Fetching(const DepthwiseSpan& s) {
    const int64_t vectors = (s.channels + kLanes - 1) / kLanes * s.rows * s.pixels;
    PCQAT_UNROLL for (int i = 0; i < 2; ++i) {
      at_[i] = reinterpret_cast<uintptr_t>(s.upcoming[i].data);
      step_[i] = s.upcoming[i].floats * static_cast<int64_t>(sizeof(float)) / vectors;
    }
  }
  PCQAT_INLINE void share() {
    PCQAT_UNROLL for (int i = 0; i < 2; ++i) {
      __builtin_prefetch(reinterpret_cast<const void*>(at_[i]), 0, 2);
      at_[i] += step_[i];
    }
  }

 private:
  uintptr_t at_[2];
  int64_t step_[2];
};

template <int T, int V, typename Access>
PCQAT_INLINE void depthwise_taps(const DepthwiseSpan& s, Access access, const float* x, const float* kernel, const float* bias, Vec low,
                                 Vec high, Fetching& fetching, float* y) {
  Vec weight[T][V], start[V];
  const float* in[T];
  PCQAT_UNROLL for (int t = 0; t < T; ++t) {
    in[t] = x + s.x_offset[t];
    PCQAT_UNROLL for (int v = 0; v < V; ++v) weight[t][v] = access.load(kernel + s.w_offset[t] + v * kLanes);
  }
  PCQAT_UNROLL for (int v = 0; v < V; ++v) start[v] = bias == nullptr ? Vec{} : access.load(bias + v * kLanes);
  for (int64_t row = 0; row < s.rows; ++row) {
    int64_t from = row * s.x_row;
    float* to = y + row * s.y_row;
    for (int64_t p = 0; p < s.pixels; ++p, from += s.x_step, to += s.y_step) {
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        Vec sum = start[v];
        PCQAT_UNROLL for (int t = 0; t < T; ++t) sum = fma(access.load(in[t] + from + v * kLanes), weight[t][v], sum);
        access.store(to + v * kLanes, clamp(sum, low, high));
        fetching.share();
      }
    }
  }
}

// Whether the taps are a window of 3 x 3 neighbours, which moves on by one of them from pixel to pixel.
inline bool slides(const DepthwiseSpan& s) {
  if (s.taps != kTaps) return false;
  for (int t = 0; t < kTaps; ++t) {
    if (s.x_offset[t] != s.x_offset[t / 3 * 3] + t % 3 * s.x_step) return false;
  }
  return true;
}

// The window's vectors at a pixel of a span: three are loaded for each pixel, the others were loaded before.
template <typename Access>
class SlidingWindow {
 public:
  PCQAT_INLINE SlidingWindow(const DepthwiseSpan& s, Access access, const float* x) : access_(access), step_(s.x_step) {
    PCQAT_UNROLL for (int line = 0; line < 3; ++line) {
      next_[line] = x + s.x_offset[3 * line];
      values_[line][1] = access.load(next_[line]);
      values_[line][2] = access.load(next_[line] + step_);
      next_[line] += 2 * step_;
    }
  }
  PCQAT_INLINE void move() {
    PCQAT_UNROLL for (int line = 0; line < 3; ++line) {
      values_[line][0] = values_[line][1];
      values_[line][1] = values_[line][2];
      values_[line][2] = access_.load(next_[line]);
      next_[line] += step_;
    }
  }
  PCQAT_INLINE Vec operator[](int tap) const { return values_[tap / 3][tap % 3]; }

 private:
  Access access_;
  int64_t step_;
  const float* next_[3];
  Vec values_[3][3];
};

template <typename Access>
PCQAT_INLINE void depthwise_sliding(const DepthwiseSpan& s, Access access, const float* x, const float* kernel, const float* bias, Vec low,
                                    Vec high, Fetching& fetching, float* y) {
  Vec weight[kTaps];
  PCQAT_UNROLL for (int t = 0; t < kTaps; ++t) weight[t] = access.load(kernel + s.w_offset[t]);
  const Vec start = bias == nullptr ? Vec{} : access.load(bias);
  for (int64_t row = 0; row < s.rows; ++row) {
    SlidingWindow<Access> window(s, access, x + row * s.x_row);
    float* to = y + row * s.y_row;
    for (int64_t p = 0; p < s.pixels; ++p, to += s.y_step) {
      window.move();
      Vec sum = start;
      PCQAT_UNROLL for (int t = 0; t < kTaps; ++t) sum = fma(window[t], weight[t], sum);
      access.store(to, clamp(sum, low, high));
      fetching.share();
    }
  }
}

// P consecutive pixels with any number of taps: the kernel is loaded once for all of them.
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

template <int V, typename Access>
PCQAT_INLINE void depthwise_tiles(const DepthwiseSpan& s, Access access, const float* x, const float* kernel, const float* bias, Vec low,
                                  Vec high, float* y) {
  for (int64_t row = 0; row < s.rows; ++row) {
    const float* in = x + row * s.x_row;
    float* out = y + row * s.y_row;
    int64_t p = 0;
    for (; p + 4 <= s.pixels; p += 4) depthwise_tile<4, V>(s, access, in + p * s.x_step, kernel, bias, low, high, out + p * s.y_step);
    for (; p < s.pixels; ++p) depthwise_tile<1, V>(s, access, in + p * s.x_step, kernel, bias, low, high, out + p * s.y_step);
  }
}

void depthwise(const DepthwiseSpan& s, const float* x, const float* kernel, const float* bias, float low, float high, float* y) {
  const Vec lowest = splat(low), highest = splat(high);
  Fetching fetching(s);
  if (kLanes > 1 && slides(s)) {
    for_channels<1>(s.channels, [&](int64_t c, auto access, auto) {
      depthwise_sliding(s, access, x + c, kernel + c, bias == nullptr ? nullptr : bias + c, lowest, highest, fetching, y + c);
    });
    return;
  }
  for_channels<kTapVectors>(s.channels, [&](int64_t c, auto access, auto count) {
    constexpr int V = decltype(count)::value;
    const float* const offset = bias == nullptr ? nullptr : bias + c;
    const bool fits = with_taps<kTaps>(s.taps, [&](auto taps) PCQAT_INLINE_LAMBDA {
      depthwise_taps<decltype(taps)::value, V>(s, access, x + c, kernel + c, offset, lowest, highest, fetching, y + c);
    });
    if (!fits) depthwise_tiles<V>(s, access, x + c, kernel + c, offset, lowest, highest, y + c);
  });
}

// T kernel elements, from `first` on.
template <int T, int V, typename Access>
PCQAT_INLINE void depthwise_gradient_taps(const DepthwiseSpan& s, Access access, int64_t first, const float* x, const float* dy,
                                          Fetching& fetching, float* d_kernel) {
  Vec sum[T][V];
  const float* in[T];
  PCQAT_UNROLL for (int t = 0; t < T; ++t) {
    PCQAT_UNROLL for (int v = 0; v < V; ++v) sum[t][v] = access.load(d_kernel + s.w_offset[first + t] + v * kLanes);
    in[t] = x + s.x_offset[first + t];
  }
  for (int64_t row = 0; row < s.rows; ++row) {
    int64_t from = row * s.x_row;
    const float* at = dy + row * s.y_row;
    for (int64_t p = 0; p < s.pixels; ++p, from += s.x_step, at += s.y_step) {
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        const Vec gradient = access.load(at + v * kLanes);
        PCQAT_UNROLL for (int t = 0; t < T; ++t) sum[t][v] = fma(access.load(in[t] + from + v * kLanes), gradient, sum[t][v]);
        fetching.share();
      }
    }
  }
  PCQAT_UNROLL for (int t = 0; t < T; ++t) {
    PCQAT_UNROLL for (int v = 0; v < V; ++v) access.store(d_kernel + s.w_offset[first + t] + v * kLanes, sum[t][v]);
  }
}

template <typename Access>
PCQAT_INLINE void depthwise_gradient_sliding(const DepthwiseSpan& s, Access access, const float* x, const float* dy, Fetching& fetching,
                                             float* d_kernel) {
  Vec sum[kTaps];
  PCQAT_UNROLL for (int t = 0; t < kTaps; ++t) sum[t] = access.load(d_kernel + s.w_offset[t]);
  for (int64_t row = 0; row < s.rows; ++row) {
    SlidingWindow<Access> window(s, access, x + row * s.x_row);
    const float* at = dy + row * s.y_row;
    for (int64_t p = 0; p < s.pixels; ++p, at += s.y_step) {
      window.move();
      const Vec gradient = access.load(at);
      PCQAT_UNROLL for (int t = 0; t < kTaps; ++t) sum[t] = fma(window[t], gradient, sum[t]);
      fetching.share();
    }
  }
  PCQAT_UNROLL for (int t = 0; t < kTaps; ++t) access.store(d_kernel + s.w_offset[t], sum[t]);
}

void depthwise_gradient(const DepthwiseSpan& s, const float* x, const float* dy, float* d_kernel) {
  Fetching fetching(s);
  if (kLanes > 1 && slides(s)) {
    for_channels<1>(s.channels,
                    [&](int64_t c, auto access, auto) { depthwise_gradient_sliding(s, access, x + c, dy + c, fetching, d_kernel + c); });
    return;
  }
  for_channels<kTapVectors>(s.channels, [&](int64_t c, auto access, auto count) {
    constexpr int V = decltype(count)::value;
    for (int64_t first = 0; first < s.taps; first += kTaps) {
      with_taps<kTaps>(s.taps - first < kTaps ? s.taps - first : kTaps, [&](auto taps) PCQAT_INLINE_LAMBDA {
        depthwise_gradient_taps<decltype(taps)::value, V>(s, access, first, x + c, dy + c, fetching, d_kernel + c);
      });
    }
  });
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
