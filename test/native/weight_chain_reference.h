// The weight chain as its definition reads: one weight after the other, a scan over all centroids, sums in double.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "compression/fake_quant.h"

namespace pcqat::test {

struct ChainOptions {
  enum Mask { no_mask, write_back, mask_gradient };
  enum Pin { no_pin, pin_index, pin_equal };
  enum Range { no_range, tensor_range, channel_range };
  Mask mask = no_mask;
  int64_t k = 0;  // 0: no codebook
  bool codebook_per_channel = false;
  Pin pin = no_pin;
  bool average = false;
  Range range = no_range;
  int bits = 8;
  bool training = true;
};

struct ChainState {
  int64_t rows, channels;
  std::vector<float> weight, centroids, used, min, max;
  std::vector<uint8_t> mask;
  std::vector<int32_t> indices, zero_index;
};

inline float quantize_element(float x, const NudgedRange& r, bool multiply) {
  if (r.is_zero) return 0;
  if (x > r.max) x = r.max;
  if (x < r.min) x = r.min;
  const float distance = x - r.min;
  const float code = multiply ? distance * r.inverse_scale : distance / r.scale;
  const float shifted = code - r.zero_code;
  return std::floor(shifted + 0.5f) * r.scale;
}

// What is fake-quantized: centroid or masked weight.
inline float chain_value(const ChainState& s, const ChainOptions& o, int64_t i) {
  if (o.k == 0) return o.mask != ChainOptions::no_mask && s.mask[static_cast<size_t>(i)] == 0 ? 0.0f : s.weight[static_cast<size_t>(i)];
  const int64_t row = o.codebook_per_channel ? i % s.channels : 0;
  return s.centroids[static_cast<size_t>(row * o.k + s.indices[static_cast<size_t>(i)])];
}

inline NudgedRange chain_range(const ChainState& s, const ChainOptions& o, int64_t i) {
  const size_t c = o.range == ChainOptions::channel_range ? static_cast<size_t>(i % s.channels) : 0;
  return nudge_range(s.min[c], s.max[c], o.bits, true);
}

// Leaves the pinned centroids and the masked weight in the state, as training does.
inline void reference_forward(ChainState& s, const ChainOptions& o) {
  const int64_t size = s.rows * s.channels, codebooks = o.codebook_per_channel ? s.channels : 1;
  for (int64_t row = 0; o.k > 0 && o.pin != ChainOptions::no_pin && row < codebooks; ++row) {
    const int32_t zero = s.zero_index[static_cast<size_t>(row)];
    if (zero < 0) continue;
    float* c = &s.centroids[static_cast<size_t>(row * o.k)];
    const float value = c[zero];
    for (int64_t j = 0; j < o.k; ++j) {
      if (j == zero || (o.pin == ChainOptions::pin_equal && c[j] == value)) c[j] = 0;
    }
  }
  for (int64_t i = 0; i < size; ++i) {
    const size_t at = static_cast<size_t>(i);
    const float w = o.mask != ChainOptions::no_mask && s.mask[at] == 0 ? 0.0f : s.weight[at];
    if (o.mask == ChainOptions::write_back) s.weight[at] = w;
    if (o.k == 0) continue;
    const float* c = &s.centroids[static_cast<size_t>((o.codebook_per_channel ? i % s.channels : 0) * o.k)];
    int32_t best = 0;
    for (int32_t j = 1; j < o.k; ++j) {
      if (std::fabs(w - c[j]) < std::fabs(w - c[best])) best = j;
    }
    s.indices[at] = best;
  }
  for (float& value : s.max) value = 0;
  for (int64_t i = 0; i < size && o.range != ChainOptions::no_range; ++i) {
    float& largest = s.max[o.range == ChainOptions::channel_range ? static_cast<size_t>(i % s.channels) : 0];
    largest = std::fmax(largest, std::fabs(chain_value(s, o, i)));
  }
  for (size_t c = 0; c < s.max.size(); ++c) s.min[c] = 0.0f - s.max[c];
  for (int64_t i = 0; i < size; ++i) {
    const float x = chain_value(s, o, i);
    s.used[static_cast<size_t>(i)] =
        o.range == ChainOptions::no_range ? x : quantize_element(x, chain_range(s, o, i), o.range == ChainOptions::channel_range);
  }
}

struct ChainGradient {
  std::vector<float> weight;
  std::vector<double> centroids, magnitude;  // magnitude: sum of absolute terms, for the error bound
  std::vector<int64_t> members;
};

inline ChainGradient reference_backward(const ChainState& s, const ChainOptions& o, const std::vector<float>& d_used) {
  const size_t codebooks = o.codebook_per_channel ? static_cast<size_t>(s.channels) : 1, count = static_cast<size_t>(o.k) * codebooks;
  ChainGradient g{d_used, std::vector<double>(count), std::vector<double>(count), std::vector<int64_t>(count)};
  for (int64_t i = 0; i < s.rows * s.channels; ++i) {
    const size_t at = static_cast<size_t>(i);
    if (o.range != ChainOptions::no_range) {
      const NudgedRange r = chain_range(s, o, i);
      const float x = chain_value(s, o, i);
      if (!r.is_zero && !(r.min <= x && x <= r.max)) g.weight[at] = 0;
    }
    if (o.k > 0) {
      const size_t j = static_cast<size_t>((o.codebook_per_channel ? i % s.channels : 0) * o.k + s.indices[at]);
      g.centroids[j] += g.weight[at];
      g.magnitude[j] += std::fabs(g.weight[at]);
      ++g.members[j];
    }
    if (o.mask == ChainOptions::mask_gradient && s.mask[at] == 0) g.weight[at] = 0;
  }
  for (size_t j = 0; j < count && o.average; ++j) {
    const double members = static_cast<double>(g.members[j]);
    g.centroids[j] = members == 0 ? 0 : g.centroids[j] / members;
    g.magnitude[j] = members == 0 ? 0 : g.magnitude[j] / members;
  }
  return g;
}

}  // namespace pcqat::test
