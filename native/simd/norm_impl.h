// Per-channel passes of batch normalization. Sums run in f32 over short blocks of rows and in double across blocks.
#pragma once

#include "simd/elementwise_impl.h"
#include "simd/f32_kernels.h"
#include "simd/f32_vector.h"
#include "simd/gemm_tile.h"
#include "simd/wide_rows.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

constexpr int64_t kBlockRows = 64;

// Vectors whose five constants stay in registers.
constexpr int kGradientGroup = kLanes == 16 ? 4 : 2;

// Rows after which a pass over elements goes on to the next channels: few, so that it walks through memory nearly in order, but not so few
// that short vectors load their constants all the time.
constexpr int64_t kPassRows = kLanes == 16 ? 4 : 16;

// Floats between what is read and what is fetched meanwhile: 4 KB, which memory delivers while the ones between are worked on.
constexpr int64_t kFloatsAhead = 1024;

typedef double UnalignedDoubles __attribute__((vector_size(8 * kLanes), aligned(8), may_alias));

// body(begin, end) for at most `step` rows at a time.
template <typename Body>
PCQAT_INLINE void each_rows(int64_t rows, int64_t step, Body body) {
  for (int64_t begin = 0; begin < rows; begin += step) body(begin, begin + step < rows ? begin + step : rows);
}

PCQAT_INLINE void add_lanes(double* sums, Vec v, int64_t lanes) {
  if (lanes == kLanes) {
    *reinterpret_cast<UnalignedDoubles*>(sums) += __builtin_convertvector(v, UnalignedDoubles);
    return;
  }
  for (int64_t i = 0; i < lanes; ++i) sums[i] += static_cast<double>(v[i]);
}

// Sums of a wide row, to be folded into those of its channels.
PCQAT_INLINE void fold(int64_t channels, int64_t repeats, const double* wide, double* sum) {
  for (int64_t i = 0; i < repeats * channels; ++i) sum[i % channels] += wide[i];
}

void add_statistics(int64_t rows, int64_t channels, const float* x, const float* shift, const ChannelSums& out) {
  each_rows(rows, kBlockRows, [&](int64_t begin, int64_t end) PCQAT_INLINE_LAMBDA {
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
  });
}

void channel_statistics(int64_t rows, int64_t channels, const float* x, const float* shift, bool add, const ChannelSums& out) {
  for (int64_t c = 0; c < channels && !add; ++c) {
    out.sum[c] = out.squares[c] = 0;
    out.low[c] = out.high[c] = x[c];
  }
  each_wide(rows, channels, true, [&](int64_t first, int64_t count, int64_t repeats) {
    const float* const at = x + first * channels;
    if (repeats == 1) return add_statistics(count, channels, at, shift, out);
    const Repeated base(shift, channels, repeats);
    Repeated low(out.low, channels, repeats), high(out.high, channels, repeats);
    double sum[kMostWide] = {}, squares[kMostWide] = {};
    add_statistics(count, repeats * channels, at, base, {sum, squares, low.memory(), high.memory()});
    fold(channels, repeats, sum, out.sum);
    fold(channels, repeats, squares, out.squares);
    for (int64_t i = 0; i < repeats * channels; ++i) {
      float &least = out.low[i % channels], &most = out.high[i % channels];
      least = low[i] < least ? low[i] : least;
      most = high[i] > most ? high[i] : most;
    }
  });
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

// Where vectors of channels from c on are written in rows.
template <int V>
PCQAT_INLINE void targets_of(const RowBlocks& y, int64_t c, float* (&to)[V]) {
  PCQAT_UNROLL for (int v = 0; v < V; ++v) {
    const int64_t channel = c + v * kLanes;
    to[v] = y.data + channel / kColumns * y.block + channel % kColumns;
  }
}
// The same rows, several of them as one, or from row `first` on.
PCQAT_INLINE RowBlocks rows_from(const RowBlocks& y, int64_t first, int64_t repeats) {
  if (first == 0 && repeats == 1) return y;
  float* const data = y.data + first * y.row;
  return repeats == 1 ? RowBlocks{data, y.row, y.block} : RowBlocks{data, y.row * repeats, kColumns};
}

// Where a row is written, from row to row.
class RowOffset {
 public:
  PCQAT_INLINE RowOffset(const RowBlocks& y, int64_t row) : row_(y.row), line_(y.line), length_(y.length) {
    start_ = row / length_ * line_;
    in_line_ = row % length_;
    offset_ = start_ + in_line_ * row_;
  }
  PCQAT_INLINE operator int64_t() const { return offset_; }
  PCQAT_INLINE void next() {
    offset_ += row_;
    if (++in_line_ < length_) return;
    in_line_ = 0;
    offset_ = start_ += line_;
  }

 private:
  int64_t row_, line_, length_;
  int64_t start_, in_line_, offset_;
};

// body(part of y, first row of it, rows) for lines whose rows follow one another: several of them may be joined there.
template <typename Body>
PCQAT_INLINE void each_joined(int64_t rows, int64_t channels, const RowBlocks& y, Body body) {
  if (y.row != channels || y.length >= rows) return body(y, int64_t{0}, rows);
  for (int64_t first = 0; first < rows; first += y.length) {
    const int64_t count = rows - first < y.length ? rows - first : y.length;
    body(RowBlocks{y.data + first / y.length * y.line, y.row, y.block}, first, count);
  }
}

template <typename End>
PCQAT_INLINE void scale_shift_rows(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, const End& end,
                                   const RowBlocks& y) {
  each_rows(rows, kPassRows, [&](int64_t from, int64_t to) PCQAT_INLINE_LAMBDA {
    const RowOffset start(y, from);
    for_channels(channels, [&](int64_t c, auto access, auto count) {
      constexpr int V = decltype(count)::value;
      Vec factor[V], offset[V];
      float* target[V];
      targets_of(y, c, target);
      RowOffset written = start;
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        factor[v] = access.load(scale + c + v * kLanes);
        offset[v] = access.load(shift + c + v * kLanes);
      }
      for (int64_t row = from; row < to; ++row, written.next()) {
        PCQAT_UNROLL for (int v = 0; v < V; ++v) {
          const float* const at = x + row * channels + c + v * kLanes;
          __builtin_prefetch(at + kFloatsAhead);
          access.store(target[v] + written, end(fma(access.load(at), factor[v], offset[v])));
        }
      }
    });
  });
}

void scale_shift(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, const Finish& finish,
                 const RowBlocks& y) {
  each_joined(rows, channels, y, [&](const RowBlocks& part, int64_t begin, int64_t length) {
    each_wide(length, channels, part.row == channels, [&](int64_t first, int64_t count, int64_t repeats) {
      const Repeated factor(scale, channels, repeats), offset(shift, channels, repeats);
      const RowBlocks to = rows_from(part, first, repeats);
      const float* const from = x + (begin + first) * channels;
      with_finish(finish, [&](const auto& end) { scale_shift_rows(count, repeats * channels, from, factor, offset, end, to); });
    });
  });
}

// The constants of a batch norm's gradient; `slope` and `offset` are used by that of its input only.
struct NormConstants {
  const float *scale, *shift, *mean, *slope, *offset;
};

void add_gradient_sums(int64_t rows, int64_t channels, const float* x, const NormConstants& n, const PassInterval& pass, const float* dy,
                       double* sum, double* product) {
  const Vec low = splat(pass.low), high = splat(pass.high);
  each_rows(rows, kBlockRows, [&](int64_t begin, int64_t end) PCQAT_INLINE_LAMBDA {
    for_channels(channels, [&](int64_t c, auto access, auto count) {
      constexpr int V = decltype(count)::value;
      Vec factor[V], offset[V], center[V], total[V], weighted[V];
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        factor[v] = access.load(n.scale + c + v * kLanes);
        offset[v] = access.load(n.shift + c + v * kLanes);
        center[v] = access.load(n.mean + c + v * kLanes);
        total[v] = weighted[v] = Vec{};
      }
      for (int64_t row = begin; row < end; ++row) {
        PCQAT_UNROLL for (int v = 0; v < V; ++v) {
          const int64_t i = row * channels + c + v * kLanes;
          const Vec value = access.load(x + i);
          __builtin_prefetch(x + i + kBlockRows * channels);
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
  });
}

void norm_gradient_sums(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, const float* mean,
                        const PassInterval& pass, const float* dy, double* sum, double* product) {
  each_wide(rows, channels, true, [&](int64_t first, int64_t count, int64_t repeats) {
    const int64_t at = first * channels;
    if (repeats == 1)
      return add_gradient_sums(count, channels, x + at, {scale, shift, mean, nullptr, nullptr}, pass, dy + at, sum, product);
    const Repeated factor(scale, channels, repeats), begin(shift, channels, repeats), center(mean, channels, repeats);
    double wide_sum[kMostWide] = {}, wide_product[kMostWide] = {};
    add_gradient_sums(count, repeats * channels, x + at, {factor, begin, center, nullptr, nullptr}, pass, dy + at, wide_sum, wide_product);
    fold(channels, repeats, wide_sum, sum);
    fold(channels, repeats, wide_product, product);
  });
}

void norm_gradient_rows(int64_t rows, int64_t channels, const float* x, const NormConstants& n, const PassInterval& pass, const float* dy,
                        const RowBlocks& dx) {
  const Vec low = splat(pass.low), high = splat(pass.high);
  each_rows(rows, kPassRows, [&](int64_t from, int64_t to) PCQAT_INLINE_LAMBDA {
    const RowOffset start(dx, from);
    for_channels<kGradientGroup>(channels, [&](int64_t c, auto access, auto count) {
      constexpr int V = decltype(count)::value;
      Vec factor[V], begin[V], center[V], incline[V], level[V];
      float* target[V];
      targets_of(dx, c, target);
      RowOffset written = start;
      PCQAT_UNROLL for (int v = 0; v < V; ++v) {
        const int64_t i = c + v * kLanes;
        factor[v] = access.load(n.scale + i);
        begin[v] = access.load(n.shift + i);
        center[v] = access.load(n.mean + i);
        incline[v] = access.load(n.slope + i);
        level[v] = access.load(n.offset + i);
      }
      for (int64_t row = from; row < to; ++row, written.next()) {
        PCQAT_UNROLL for (int v = 0; v < V; ++v) {
          const int64_t i = row * channels + c + v * kLanes;
          const Vec value = access.load(x + i);
          const Vec g = passing(fma(value, factor[v], begin[v]), low, high, access.load(dy + i));
          __builtin_prefetch(x + i + kFloatsAhead);
          __builtin_prefetch(dy + i + kFloatsAhead);
          access.store(target[v] + written, fma(g, factor[v], fma(value - center[v], incline[v], level[v])));
        }
      }
    });
  });
}

void norm_gradient(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, const float* mean,
                   const PassInterval& pass, const float* slope, const float* offset, const float* dy, const RowBlocks& dx) {
  each_joined(rows, channels, dx, [&](const RowBlocks& part, int64_t start, int64_t length) {
    each_wide(length, channels, part.row == channels, [&](int64_t first, int64_t count, int64_t repeats) {
      const int64_t at = (start + first) * channels;
      const Repeated factor(scale, channels, repeats), begin(shift, channels, repeats), center(mean, channels, repeats),
          incline(slope, channels, repeats), level(offset, channels, repeats);
      norm_gradient_rows(count, repeats * channels, x + at, {factor, begin, center, incline, level}, pass, dy + at,
                         rows_from(part, first, repeats));
    });
  });
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
