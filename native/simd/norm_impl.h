// Per-channel passes of batch normalization. Sums run in f32 over short blocks of rows and in double across blocks.
#pragma once

#include "simd/elementwise_impl.h"
#include "simd/f32_kernels.h"
#include "simd/f32_vector.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

constexpr int64_t kBlockRows = 64;

// Vectors whose five constants stay in registers.
constexpr int kGradientGroup = kLanes == 16 ? 4 : 1;

PCQAT_INLINE void add_lanes(double* sums, Vec v, int64_t lanes) {
  float values[kLanes];
  store(values, v);
  for (int64_t i = 0; i < lanes; ++i) sums[i] += static_cast<double>(values[i]);
}

void channel_statistics(int64_t rows, int64_t channels, const float* x, const float* shift, bool add, const ChannelSums& out) {
  for (int64_t c = 0; c < channels && !add; ++c) {
    out.sum[c] = out.squares[c] = 0;
    out.low[c] = out.high[c] = x[c];
  }
  for (int64_t begin = 0; begin < rows; begin += kBlockRows) {
    const int64_t end = begin + kBlockRows < rows ? begin + kBlockRows : rows;
    for_channels(channels, [&](int64_t c, auto access, auto count) {
      constexpr int V = decltype(count)::value;
      Vec base[V], sum[V], squares[V], low[V], high[V];
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        base[v] = access.load(shift + c + v * kLanes);
        low[v] = access.load(out.low + c + v * kLanes);
        high[v] = access.load(out.high + c + v * kLanes);
        sum[v] = squares[v] = Vec{};
      }
      for (int64_t row = begin; row < end; ++row) {
        PCQAT_UNROLL for (int v = 0; v < V; ++v) {
          const Vec value = access.load(x + row * channels + c + v * kLanes);
          const Vec difference = value - base[v];
          sum[v] += difference;
          squares[v] = fma(difference, difference, squares[v]);
          low[v] = min(low[v], value);
          high[v] = max(high[v], value);
        }
      }
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        add_lanes(out.sum + c + v * kLanes, sum[v], access.lanes());
        add_lanes(out.squares + c + v * kLanes, squares[v], access.lanes());
        access.store(out.low + c + v * kLanes, low[v]);
        access.store(out.high + c + v * kLanes, high[v]);
      }
    });
  }
}

// Pairwise merging of moments (Chan, Golub & LeVeque 1983).
void merge_moments(int64_t channels, double before, double count, const float* shift, const ChannelSums& part, const ChannelMoments& all) {
  const double share = 1.0 / count, weight = count / (before + count), spread = before * weight;
  const double *const sum = part.sum, *const squares = part.squares;
  double* __restrict mean = all.mean;
  double* __restrict deviation = all.deviation;
  for (int64_t c = 0; c < channels; ++c) {
    const double offset = sum[c] * share;
    const double difference = static_cast<double>(shift[c]) + offset - mean[c];
    mean[c] += difference * weight;
    deviation[c] += squares[c] - sum[c] * offset + difference * difference * spread;
  }
  for_vectors(channels, [&](int64_t c, auto access) {
    access.store(all.low + c, min(access.load(all.low + c), access.load(part.low + c)));
    access.store(all.high + c, max(access.load(all.high + c), access.load(part.high + c)));
  });
}

void scale_shift(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, const Finish& finish, float* y) {
  with_finish(finish, [&](const auto& end) PCQAT_INLINE_LAMBDA {
    for_channels(channels, [&](int64_t c, auto access, auto count) {
      constexpr int V = decltype(count)::value;
      Vec factor[V], offset[V];
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        factor[v] = access.load(scale + c + v * kLanes);
        offset[v] = access.load(shift + c + v * kLanes);
      }
      for (int64_t row = 0; row < rows; ++row) {
        PCQAT_UNROLL for (int v = 0; v < V; ++v) {
          const int64_t i = row * channels + c + v * kLanes;
          access.store(y + i, end(fma(access.load(x + i), factor[v], offset[v])));
        }
      }
    });
  });
}

void norm_gradient_sums(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, const float* mean,
                        const PassInterval& pass, const float* dy, double* sum, double* product) {
  const Vec low = splat(pass.low), high = splat(pass.high);
  for (int64_t begin = 0; begin < rows; begin += kBlockRows) {
    const int64_t end = begin + kBlockRows < rows ? begin + kBlockRows : rows;
    for_channels(channels, [&](int64_t c, auto access, auto count) {
      constexpr int V = decltype(count)::value;
      Vec factor[V], offset[V], center[V], total[V], weighted[V];
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        factor[v] = access.load(scale + c + v * kLanes);
        offset[v] = access.load(shift + c + v * kLanes);
        center[v] = access.load(mean + c + v * kLanes);
        total[v] = weighted[v] = Vec{};
      }
      for (int64_t row = begin; row < end; ++row) {
        PCQAT_UNROLL for (int v = 0; v < V; ++v) {
          const int64_t i = row * channels + c + v * kLanes;
          const Vec value = access.load(x + i);
          const Vec g = passing(fma(value, factor[v], offset[v]), low, high, access.load(dy + i));
          total[v] += g;
          weighted[v] = fma(g, value - center[v], weighted[v]);
        }
      }
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        add_lanes(sum + c + v * kLanes, total[v], access.lanes());
        add_lanes(product + c + v * kLanes, weighted[v], access.lanes());
      }
    });
  }
}

void norm_gradient(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, const float* mean,
                   const PassInterval& pass, const float* slope, const float* offset, const float* dy, float* dx) {
  const Vec low = splat(pass.low), high = splat(pass.high);
  for_channels<kGradientGroup>(channels, [&](int64_t c, auto access, auto count) {
    constexpr int V = decltype(count)::value;
    Vec factor[V], begin[V], center[V], incline[V], level[V];
    PCQAT_UNROLL for (int v = 0; v < V; ++v) {
      const int64_t i = c + v * kLanes;
      factor[v] = access.load(scale + i);
      begin[v] = access.load(shift + i);
      center[v] = access.load(mean + i);
      incline[v] = access.load(slope + i);
      level[v] = access.load(offset + i);
    }
    for (int64_t row = 0; row < rows; ++row) {
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        const int64_t i = row * channels + c + v * kLanes;
        const Vec value = access.load(x + i);
        const Vec g = passing(fma(value, factor[v], begin[v]), low, high, access.load(dy + i));
        access.store(dx + i, fma(g, factor[v], fma(value - center[v], incline[v], level[v])));
      }
    }
  });
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
