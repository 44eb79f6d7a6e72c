#include "compression/segment_sum.h"

#include <algorithm>

namespace pcqat {

int64_t segment_rows_per_block(int64_t columns, int64_t k, int64_t channels) {
  // 8192 weights stay in the first-level cache.
  return std::max<int64_t>(std::max<int64_t>(8192, 64 * k * std::max<int64_t>(channels, 1)) / columns, 1);
}

int64_t segment_partial_size(int64_t k, int64_t channels) { return channels == 0 ? k * kSegmentLanes : k * channels; }

void segment_sum_block(int64_t rows, int64_t columns, const int32_t* indices, const float* x, int64_t k, int64_t channels, float* partial) {
  std::fill(partial, partial + segment_partial_size(k, channels), 0.0f);
  if (channels != 0) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t c = 0; c < columns; ++c) partial[c * k + indices[row * columns + c]] += x[row * columns + c];
    }
    return;
  }
  const int64_t count = rows * columns;
  for (int64_t i = 0; i < count; ++i) partial[indices[i] * kSegmentLanes + i % kSegmentLanes] += x[i];
  for (int64_t j = 0; j < k; ++j) {
    float* lanes = partial + j * kSegmentLanes;
    for (int64_t half = kSegmentLanes / 2; half > 0; half /= 2) {
      for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    }
    partial[j] = lanes[0];
  }
}

void segment_reduce(const float* partials, int64_t blocks, int64_t stride, int64_t size, const int32_t* counts, float* out) {
  for (int64_t j = 0; j < size; ++j) {
    double sum = 0;
    for (int64_t block = 0; block < blocks; ++block) sum += partials[block * stride + j];
    out[j] = static_cast<float>(sum);
    if (counts != nullptr) out[j] = counts[j] == 0 ? 0.0f : out[j] / static_cast<float>(counts[j]);
  }
}

void segment_count(int64_t rows, int64_t columns, const int32_t* indices, int64_t k, int64_t channels, int32_t* counts) {
  std::fill(counts, counts + k * std::max<int64_t>(channels, 1), 0);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < columns; ++c) ++counts[(channels == 0 ? 0 : c * k) + indices[row * columns + c]];
  }
}

}  // namespace pcqat
