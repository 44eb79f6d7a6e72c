// Smooth and piecewise activation functions with their slopes. eˣ is needed for x <= 0 only: |x| keeps sigmoid and tanh
// from overflowing and accurate on both sides. Bounds (units in the last place) are tested in unary_test.cpp.
#pragma once

#include "simd/elementwise_impl.h"
#include "simd/f32_kernels.h"
#include "simd/f32_vector.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

typedef uint32_t Bits __attribute__((vector_size(4 * kLanes)));

PCQAT_INLINE Bits bits_of(Vec v) { return reinterpret_cast<Bits>(v); }
PCQAT_INLINE Vec from_bits(Bits b) { return reinterpret_cast<Vec>(b); }
PCQAT_INLINE Vec magnitude(Vec v) { return from_bits(bits_of(v) & 0x7fffffffu); }

// eˣ for x <= 0 (Cephes expf, S. Moshier): x = n ln 2 + r, a polynomial in r, and 2ⁿ by its exponent bits.
// 0 where the result would be denormal; NaN stays NaN.
PCQAT_INLINE Vec exp_negative(Vec x) {
  constexpr float kRounder = 0x1.8p23f;  // adding it rounds to an integer, which then stands in the low bits
  const Vec v = max(splat(-88.0f), x);
  const Vec shifted = fma(v, splat(1.44269504088896341f), splat(kRounder));
  const Vec n = shifted - splat(kRounder);
  // ln 2 in two parts: n times the first one is exact.
  const Vec r = fma(n, splat(2.12194440e-4f), fma(n, splat(-0.693359375f), v));
  Vec p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  const Vec y = fma(p, r * r, r) + splat(1.0f);
  const Vec e = y * from_bits((bits_of(shifted) << 23) + 0x3f800000u);
  return x < splat(-87.3365f) ? Vec{} : e;  // ln FLT_MIN
}

struct Sigmoid {
  PCQAT_INLINE explicit Sigmoid(float) {}
  PCQAT_INLINE Vec value(Vec x) const {
    const Vec e = exp_negative(-magnitude(x)), one = splat(1.0f);
    return (x < Vec{} ? e : one) / (one + e);
  }
  PCQAT_INLINE Vec slope(Vec x) const {
    const Vec e = exp_negative(-magnitude(x)), d = splat(1.0f) + e;
    return e / (d * d);
  }
};

struct Tanh {
  PCQAT_INLINE explicit Tanh(float) {}
  PCQAT_INLINE Vec value(Vec x) const {
    const Vec a = magnitude(x), one = splat(1.0f), z = a * a;
    const Vec e = exp_negative(splat(-2.0f) * a);
    const Vec large = (one - e) / (one + e);
    // Near 0 that would cancel (Cephes tanhf).
    Vec p = splat(-5.70498872745e-3f);
    p = fma(p, z, splat(2.06390887954e-2f));
    p = fma(p, z, splat(-5.37397155531e-2f));
    p = fma(p, z, splat(1.33314422036e-1f));
    p = fma(p, z, splat(-3.33332819422e-1f));
    const Vec small = fma(p * z, a, a);
    return from_bits(bits_of(a < splat(0.625f) ? small : large) | (bits_of(x) & 0x80000000u));
  }
  PCQAT_INLINE Vec slope(Vec x) const {
    const Vec e = exp_negative(splat(-2.0f) * magnitude(x)), d = splat(1.0f) + e;
    return splat(4.0f) * e / (d * d);
  }
};

struct HardSwish {
  PCQAT_INLINE explicit HardSwish(float) {}
  // x outside the product: x * 6 could overflow.
  PCQAT_INLINE Vec value(Vec x) const { return x * (clamp(x + splat(3.0f), Vec{}, splat(6.0f)) / splat(6.0f)); }
  PCQAT_INLINE Vec slope(Vec x) const {
    const Vec inner = (x + x + splat(3.0f)) / splat(6.0f);
    return x <= splat(-3.0f) ? Vec{} : (x >= splat(3.0f) ? splat(1.0f) : inner);
  }
};

struct LeakyRelu {
  float alpha;
  PCQAT_INLINE explicit LeakyRelu(float a) : alpha(a) {}
  PCQAT_INLINE Vec value(Vec x) const { return x < Vec{} ? x * splat(alpha) : x; }
  // At 0 the slope is alpha, as in TensorFlow.
  PCQAT_INLINE Vec slope(Vec x) const { return x > Vec{} ? splat(1.0f) : splat(alpha); }
};

template <typename Body>
PCQAT_INLINE void with_function(const Unary& unary, Body body) {
  switch (unary.function) {
    case UnaryFunction::sigmoid: return body(Sigmoid(unary.alpha));
    case UnaryFunction::tanh: return body(Tanh(unary.alpha));
    case UnaryFunction::hard_swish: return body(HardSwish(unary.alpha));
    case UnaryFunction::leaky_relu: return body(LeakyRelu(unary.alpha));
  }
}

void unary(int64_t count, const Unary& function, const float* x, const Finish& finish, float* y) {
  with_function(function, [&](auto f) {
    with_finish(finish, [&](const auto& end) PCQAT_INLINE_LAMBDA {
      for_vectors(count, [&](int64_t i, auto access) { access.store(y + i, end(f.value(access.load(x + i)))); });
    });
  });
}

void unary_extremes(int64_t count, const Unary& function, const float* x, float* y, float* low, float* high) {
  with_function(function, [&](auto f) {
    Vec lowest = splat(f.value(load_n(x, 1))[0]), highest = lowest;
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      const Vec v = f.value(load(x + i));
      store(y + i, v);
      lowest = min(lowest, v);
      highest = max(highest, v);
    }
    *low = lowest_lane(lowest);
    *high = highest_lane(highest);
    if (i == count) return;
    store_n(y + i, f.value(load_n(x + i, count - i)), count - i);
    for (; i < count; ++i) {
      *low = y[i] < *low ? y[i] : *low;
      *high = y[i] > *high ? y[i] : *high;
    }
  });
}

void unary_gradient(int64_t count, const Unary& function, const float* x, const PassInterval& pass, const float* dy, float* dx) {
  const Vec low = splat(pass.low), high = splat(pass.high);
  with_function(function, [&](auto f) {
    for_vectors(count, [&](int64_t i, auto access) {
      const Vec v = access.load(x + i);
      access.store(dx + i, passing(f.value(v), low, high, access.load(dy + i) * f.slope(v)));
    });
  });
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
