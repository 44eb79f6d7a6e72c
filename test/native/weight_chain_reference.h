// The weight chain as its definition reads: one weight after the other, a scan over all centroids, sums in double.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "compression/fake_quant.h"
#include "simd/compression_kernels.h"

namespace pcqat::test {

struct ChainOptions {
  enum Mask { no_mask, masked, mask_gradient };
  enum Pin { no_pin, pin_index, pin_equal };
  enum Range { no_range, tensor_range, channel_range };
  Mask mask = no_mask;
  int64_t k = 0;  // 0: no codebook
  bool codebook_per_channel = false;
  Pin pin = no_pin;
  bool average = false;
  Range range = no_range;
  RangeRule rule{RangeUpdate::last_value, true, true};
  bool training = true;
  bool extreme = false;  // huge weights, and centroids an ulp apart
};

struct ChainState {
  int64_t rows, channels;
  std::vector<float> weight, centroids, used, min, max;
  std::vector<uint8_t> mask;
  std::vector<int32_t> indices, zero_index;
  std::vector<uint8_t> small_indices;
  std::vector<float> table;
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
  return nudge_range(s.min[c], s.max[c], o.rule.bits, o.rule.narrow_range);
}

// Spec 3.4 as its table reads, for each range.
inline void reference_ranges(ChainState& s, const ChainOptions& o) {
  const RangeRule& rule = o.rule;
  if (rule.update == RangeUpdate::none || (rule.update != RangeUpdate::last_value && !o.training)) return;
  for (size_t c = 0; c < s.max.size(); ++c) {
    float low = 0, high = 0;
    for (int64_t i = 0; i < s.rows * s.channels; ++i) {
      if (o.range == ChainOptions::channel_range && i % s.channels != static_cast<int64_t>(c)) continue;
      low = std::fmin(low, chain_value(s, o, i));
      high = std::fmax(high, chain_value(s, o, i));
    }
    if (rule.symmetric) {
      const float levels = static_cast<float>(1 << rule.bits), ratio = rule.narrow_range ? -1.0f : -(levels - 2) / levels;
      const float from_high = high / ratio;
      const float new_low = std::fmin(low, from_high);
      const float from_low = (rule.update == RangeUpdate::running_min_max ? new_low : low) * ratio;
      high = std::fmax(high, from_low);
      low = new_low;
    }
    if (rule.update == RangeUpdate::last_value) {
      s.min[c] = low;
      s.max[c] = high;
    } else if (rule.update == RangeUpdate::moving_average) {
      const float down = (s.min[c] - low) * rule.one_minus_decay, up = (s.max[c] - high) * rule.one_minus_decay;
      s.min[c] -= down;
      s.max[c] -= up;
    } else {
      s.min[c] = std::fmin(s.min[c], low);
      s.max[c] = std::fmax(s.max[c], high);
    }
  }
}

// The promises, one weight after the other.
inline ChainViolations reference_violations(int64_t rows, int64_t columns, const float* used, const uint8_t* mask, const Source& table) {
  ChainViolations found;
  for (int64_t i = 0; i < rows * columns; ++i) {
    uint32_t value, entry;
    std::memcpy(&value, used + i, sizeof value);
    if (mask != nullptr && mask[i] == 0 && (value & 0x7fffffffu) != 0) ++found.zeros;
    if (table.indices == nullptr) continue;
    const int32_t index = table.indices[i];
    if (index >= 0 && index < table.k) {
      std::memcpy(&entry, table.x + (i % columns) * table.stride + index, sizeof entry);
      if (entry == value) continue;
    }
    ++found.clusters;
  }
  return found;
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
    if (o.k == 0) continue;
    const float* c = &s.centroids[static_cast<size_t>((o.codebook_per_channel ? i % s.channels : 0) * o.k)];
    int32_t best = 0;
    for (int32_t j = 1; j < o.k; ++j) {
      if (std::fabs(w - c[j]) < std::fabs(w - c[best])) best = j;
    }
    s.indices[at] = best;
  }
  reference_ranges(s, o);
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
