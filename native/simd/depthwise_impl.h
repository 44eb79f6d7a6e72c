// Depthwise convolution, vectorised over channels.
#pragma once

#include "simd/f32_kernels.h"
#include "simd/f32_vector.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

// P consecutive pixels of one vector of channels share every load of the kernel.
template <int P, typename Access>
PCQAT_INLINE void depthwise_pixels(const DepthwiseSpan& s, Access access, const float* x, const float* kernel, Vec bias, Vec low, Vec high,
                                   float* y) {
  Vec sum[P];
  PCQAT_UNROLL for (int p = 0; p < P; ++p) sum[p] = bias;
  for (int64_t t = 0; t < s.taps; ++t) {
    const Vec weight = access.load(kernel + s.w_offset[t]);
    const float* in = x + s.x_offset[t];
    PCQAT_UNROLL for (int p = 0; p < P; ++p) sum[p] = fma(access.load(in + p * s.x_step), weight, sum[p]);
  }
  PCQAT_UNROLL for (int p = 0; p < P; ++p) access.store(y + p * s.y_step, clamp(sum[p], low, high));
}

void depthwise(const DepthwiseSpan& s, const float* x, const float* kernel, const float* bias, float low, float high, float* y) {
  const Vec lowest = splat(low), highest = splat(high);
  for_vectors(s.channels, [&](int64_t c, auto access) {
    const Vec start = bias == nullptr ? Vec{} : access.load(bias + c);
    int64_t p = 0;
    for (; p + 4 <= s.pixels; p += 4) {
      depthwise_pixels<4>(s, access, x + c + p * s.x_step, kernel + c, start, lowest, highest, y + c + p * s.y_step);
    }
    for (; p < s.pixels; ++p) {
      depthwise_pixels<1>(s, access, x + c + p * s.x_step, kernel + c, start, lowest, highest, y + c + p * s.y_step);
    }
  });
}

// T kernel elements at once: their sums stay in registers while the span goes by.
template <int T, typename Access>
PCQAT_INLINE void depthwise_gradient_taps(const DepthwiseSpan& s, Access access, int64_t first, const float* x, const float* dy,
                                          float* d_kernel) {
  Vec sum[T];
  const float* in[T];
  PCQAT_UNROLL for (int t = 0; t < T; ++t) {
    sum[t] = access.load(d_kernel + s.w_offset[first + t]);
    in[t] = x + s.x_offset[first + t];
  }
  for (int64_t p = 0; p < s.pixels; ++p) {
    const Vec gradient = access.load(dy + p * s.y_step);
    PCQAT_UNROLL for (int t = 0; t < T; ++t) sum[t] = fma(access.load(in[t] + p * s.x_step), gradient, sum[t]);
  }
  PCQAT_UNROLL for (int t = 0; t < T; ++t) access.store(d_kernel + s.w_offset[first + t], sum[t]);
}

void depthwise_gradient(const DepthwiseSpan& s, const float* x, const float* dy, float* d_kernel) {
  for_vectors(s.channels, [&](int64_t c, auto access) {
    int64_t t = 0;
    for (; t + 9 <= s.taps; t += 9) depthwise_gradient_taps<9>(s, access, t, x + c, dy + c, d_kernel + c);
    for (; t + 3 <= s.taps; t += 3) depthwise_gradient_taps<3>(s, access, t, x + c, dy + c, d_kernel + c);
    for (; t < s.taps; ++t) depthwise_gradient_taps<1>(s, access, t, x + c, dy + c, d_kernel + c);
  });
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
