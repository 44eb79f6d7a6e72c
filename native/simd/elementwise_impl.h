// Element-wise passes: activation, fake quantization and their gradients, sums, checks.
#pragma once

#include "simd/f32_kernels.h"
#include "simd/f32_vector.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

// Quotients by one divisor, to the bit of a division: a product with the reciprocal is within two ulps, a correction by the exact remainder
// makes it faithful, and a second one then rounds it correctly (Markstein 1990).
struct Reciprocal {
  Vec divisor, inverse;
  PCQAT_INLINE explicit Reciprocal(float d) : divisor(splat(d)), inverse(splat(1.0f / d)) {}
  PCQAT_INLINE Vec operator()(Vec v) const {
    const Vec q = v * inverse, faithful = fma(fma(-q, divisor, v), inverse, q);
    return fma(fma(-faithful, divisor, v), inverse, faithful);
  }
};
struct Division {
  Vec divisor;
  PCQAT_INLINE explicit Division(float d) : divisor(splat(d)) {}
  PCQAT_INLINE Vec operator()(Vec v) const { return v / divisor; }
};

// Clamp, then the rounding of spec 3.5. Nothing here may be fused: every step rounds as in TensorFlow.
template <typename Divide>
struct Quantizer {
  Vec low, high, min, scale, zero_code;
  Divide divide;
  PCQAT_INLINE explicit Quantizer(const Finish& f)
      : low(splat(f.low)), high(splat(f.high)), min(splat(f.min)), scale(splat(f.scale)), zero_code(splat(f.zero_code)), divide(f.scale) {}
  PCQAT_INLINE Vec operator()(Vec v) const { return floor(divide(clamp(v, low, high) - min) - zero_code + splat(0.5f)) * scale; }
};
struct Clamp {
  Vec low, high;
  PCQAT_INLINE explicit Clamp(const Finish& f) : low(splat(f.low)), high(splat(f.high)) {}
  PCQAT_INLINE Vec operator()(Vec v) const { return clamp(v, low, high); }
};

// body(end), `end` being what f says as a function of a vector.
template <typename Body>
PCQAT_INLINE void with_finish(const Finish& f, Body body) {
  // Between these scales a remainder that is too small for a float belongs to a quotient that rounds to the code of zero anyway.
  const bool corrects = kLanes == 16 && f.scale > 0x1p-70f && f.scale < 0x1p70f;
  if (!f.quantize)
    body(Clamp(f));
  else if (corrects)
    body(Quantizer<Reciprocal>(f));
  else
    body(Quantizer<Division>(f));
}

PCQAT_INLINE Vec passing(Vec v, Vec low, Vec high, Vec gradient) { return keep_between(v, low, high, gradient); }

PCQAT_INLINE float lowest_lane(Vec v) {
  float low = v[0];
  for (int i = 1; i < kLanes; ++i) low = v[i] < low ? v[i] : low;
  return low;
}
PCQAT_INLINE float highest_lane(Vec v) { return -lowest_lane(-v); }

template <typename Access>
PCQAT_INLINE Vec sum_of(Access access, const float* a, const float* b, int64_t i) {
  return b == nullptr ? access.load(a + i) : access.load(a + i) + access.load(b + i);
}

void extremes(int64_t count, const float* a, const float* b, float* low, float* high) {
  const float first = b == nullptr ? a[0] : a[0] + b[0];
  Vec lowest = splat(first), highest = lowest;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vec v = sum_of(Whole{}, a, b, i);
    lowest = min(lowest, v);
    highest = max(highest, v);
  }
  *low = lowest_lane(lowest);
  *high = highest_lane(highest);
  for (; i < count; ++i) {
    const float v = b == nullptr ? a[i] : a[i] + b[i];
    *low = v < *low ? v : *low;
    *high = v > *high ? v : *high;
  }
}

void finish(int64_t count, const float* a, const float* b, const Finish& f, float* y) {
  with_finish(f, [&](const auto& end) PCQAT_INLINE_LAMBDA {
    for_vectors(count, [&](int64_t i, auto access) { access.store(y + i, end(sum_of(access, a, b, i))); });
  });
}

void pass_gradient(int64_t count, const float* a, const float* b, const PassInterval& pass, const float* dy, float* dx) {
  const Vec low = splat(pass.low), high = splat(pass.high);
  for_vectors(count,
              [&](int64_t i, auto access) { access.store(dx + i, passing(sum_of(access, a, b, i), low, high, access.load(dy + i))); });
}

void add(int64_t count, const float* term, float* sum) {
  for_vectors(count, [&](int64_t i, auto access) { access.store(sum + i, access.load(sum + i) + access.load(term + i)); });
}

void add_scaled(int64_t count, float factor, const float* term, float* sum) {
  const Vec f = splat(factor);
  for_vectors(count, [&](int64_t i, auto access) { access.store(sum + i, fma(access.load(term + i), f, access.load(sum + i))); });
}

void scale(int64_t count, float factor, float* x) {
  const Vec f = splat(factor);
  for_vectors(count, [&](int64_t i, auto access) { access.store(x + i, access.load(x + i) * f); });
}

void column_sums(int64_t rows, int64_t columns, const float* x, float* sum) {
  for_channels(columns, [&](int64_t j, auto access, auto count) {
    constexpr int V = decltype(count)::value;
    Vec total[V] = {};
    for (int64_t i = 0; i < rows; ++i) {
      PCQAT_UNROLL for (int v = 0; v < V; ++v) total[v] += access.load(x + i * columns + j + v * kLanes);
    }
    PCQAT_UNROLL for (int v = 0; v < V; ++v) access.store(sum + j + v * kLanes, total[v]);
  });
}

void maximum(int64_t count, const float* x, float* y) {
  for_vectors(count, [&](int64_t i, auto access) {
    const Vec a = access.load(x + i), b = access.load(y + i);
    access.store(y + i, a > b ? a : b);
  });
}

void multiply(int64_t count, const float* a, const float* b, float* y) {
  for_vectors(count, [&](int64_t i, auto access) { access.store(y + i, access.load(a + i) * access.load(b + i)); });
}

bool all_finite(int64_t count, float factor, const float* x) {
  const Vec times = splat(factor);
  Vec seen[4] = {};  // 0 while every factor is finite, then NaN
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    PCQAT_UNROLL for (int v = 0; v < 4; ++v) seen[v] = fma(times * load(x + i + v * kLanes), Vec{}, seen[v]);
  }
  for_vectors(count - i, [&](int64_t j, auto access) { seen[0] = fma(times * access.load(x + i + j), Vec{}, seen[0]); });
  const Vec all = (seen[0] + seen[1]) + (seen[2] + seen[3]);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (all[lane] != 0) return false;
  }
  return true;
}

double sum_of_squares(int64_t count, const float* x) {
  constexpr int64_t kBlock = 64 * kLanes;
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    Vec sum[4] = {};
    const int64_t size = count - begin < kBlock ? count - begin : kBlock;
    int64_t i = 0;
    for (; i + 4 * kLanes <= size; i += 4 * kLanes) {
      PCQAT_UNROLL for (int v = 0; v < 4; ++v) {
        const Vec value = load(x + begin + i + v * kLanes);
        sum[v] = fma(value, value, sum[v]);
      }
    }
    for_vectors(size - i, [&](int64_t j, auto access) {
      const Vec value = access.load(x + begin + i + j);
      sum[0] = fma(value, value, sum[0]);
    });
    const Vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    for (int lane = 0; lane < kLanes; ++lane) total += static_cast<double>(all[lane]);
  }
  return total;
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
