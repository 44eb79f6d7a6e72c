#include "ops/requantize.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/chunks.h"
#include "parallel/thread_pool.h"

namespace pcqat {

namespace {

// The mean of n codes is at least 1 / 2n off a half, or one: what is nearer than this (n below 2^11), is one, but for f32 rounding.
constexpr double kHalf = 1.0 / (1 << 12);

// The integer that the kernel had: real values are off it by f32 rounding, and by `offset`. Halves do not occur.
int32_t accumulator(const Accumulators& a, int64_t channel, float value) {
  const double offset = a.offset.empty() ? 0 : a.offset[a.offset.size() > 1 ? channel : 0];
  const double sum = value / a.scale[a.scale.size() > 1 ? channel : 0] - offset;
  return static_cast<int32_t>(std::lrint(std::clamp(sum, -2147483648.0, 2147483647.0)));
}

// A code minus its zero point, or beyond all codes.
int32_t nearest(float value, float scale) { return static_cast<int32_t>(std::round(std::clamp(value / scale, -512.0f, 512.0f))); }

// The same of an operand, whose code there is.
int32_t operand(float value, float scale) { return std::clamp(nearest(value, scale), -255, 255); }

// The code minus its zero point.
int64_t steps(const Requantization& r, int64_t channel, float value, float other) {
  const Accumulators& a = value < 0 && !r.negative.scale.empty() ? r.negative : r.accumulators;
  const auto multiplier = [&] { return a.multiplier[a.multiplier.size() > 1 ? channel : 0]; };
  switch (r.rounding) {
    case CodeRounding::twice: return integer::multiply_twice_rounded(accumulator(a, channel, value), multiplier());
    case CodeRounding::once: return integer::multiply_once_rounded(accumulator(a, channel, value), multiplier());
    case CodeRounding::nearest: return nearest(value, r.scale);
    case CodeRounding::add: return r.sum(operand(value, r.operand_scales[0]), operand(other, r.operand_scales[1]));
    case CodeRounding::hard_swish: return r.hard_swish(operand(value, r.operand_scales[0]));
    case CodeRounding::code: {
      const double code = std::clamp(static_cast<double>(value) / r.scale, -512.0, 512.0) + r.zero_point;
      const double halves = std::round(2 * code);
      return static_cast<int64_t>(std::round(std::abs(2 * code - halves) < 2 * kHalf ? halves / 2 : code)) - r.zero_point;
    }
  }
  return 0;
}

}  // namespace

void requantize(int64_t count, int64_t channels, const Requantization& r, Activation activation, const float* x, const float* other,
                float* y, const Context& context) {
  const int32_t low = activation == Activation::none ? -128 : r.zero_point;
  const int32_t high = activation == Activation::relu6 ? std::min(127, r.zero_point + nearest(6, r.scale)) : 127;
  const Chunks chunks = chunks_of(count / channels, kChunkElements / 8 / channels + 1);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t i = row * channels + c;
        const float second = other == nullptr ? 0 : other[i];
        const bool finite = std::isfinite(x[i]) && std::isfinite(second);
        const int32_t code = finite ? integer::clamp(steps(r, c, x[i], second) + r.zero_point, low, high) : 0;
        y[i] = finite ? r.scale * static_cast<float>(code - r.zero_point) : std::numeric_limits<float>::quiet_NaN();
      }
    }
  });
}

}  // namespace pcqat
