// TFLite's fixed-point arithmetic (spec 5.2).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace pcqat::integer {

// A real multiplier as `multiplier / 2^31 · 2^shift`.
struct FixedPoint {
  int32_t multiplier = 0;
  int shift = 0;
};

// frexp → Q31, rounded half away from zero, with carry. Tiny values become 0. The caller keeps `real` below 2^30.
inline FixedPoint to_fixed_point(double real) {
  if (real == 0) return {};
  int shift;
  const double fraction = std::frexp(real, &shift);
  int64_t q = std::llround(fraction * (int64_t{1} << 31));
  if (q == int64_t{1} << 31) {
    q /= 2;
    ++shift;
  }
  if (shift < -31) return {};
  return {static_cast<int32_t>(q), shift};
}

// The multiplier of a mean of `count` values: divided by their number, rounded down (spec 5.2).
inline FixedPoint divided(FixedPoint m, int64_t count) {
  int shift = 0;
  while ((count >> (shift + 1)) != 0) ++shift;
  shift = std::min({shift, 32, 31 + m.shift});
  return {static_cast<int32_t>((static_cast<int64_t>(m.multiplier) << shift) / count), m.shift - shift};
}

// Saturating rounding doubling high multiply (the multiplier is never negative here, so nothing saturates).
inline int32_t high_multiply(int32_t x, int32_t multiplier) {
  return static_cast<int32_t>((static_cast<int64_t>(x) * multiplier + (int64_t{1} << 30)) >> 31);
}

// x / 2^exponent, halves away from zero.
inline int32_t rounding_shift(int32_t x, int exponent) {
  const int32_t mask = static_cast<int32_t>((int64_t{1} << exponent) - 1);
  const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
  return (x >> exponent) + ((x & mask) > threshold ? 1 : 0);
}

// "Double rounding": after the multiplication and after the shift.
inline int32_t multiply_twice_rounded(int32_t x, FixedPoint m) {
  const int left = m.shift > 0 ? m.shift : 0, right = m.shift > 0 ? 0 : -m.shift;
  return rounding_shift(high_multiply(static_cast<int32_t>(static_cast<uint32_t>(x) << left), m.multiplier), right);
}

// "Single rounding", as FULLY_CONNECTED does it.
inline int64_t multiply_once_rounded(int32_t x, FixedPoint m) {
  const int total = 31 - m.shift;
  return (static_cast<int64_t>(x) * m.multiplier + (int64_t{1} << (total - 1))) >> total;
}

inline int32_t clamp(int64_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : static_cast<int32_t>(v); }

}  // namespace pcqat::integer
