#include "compression/segment_sum.h"

#include <algorithm>
#include <cstring>

namespace pcqat {

int64_t segment_rows_per_block(int64_t columns, int64_t k, int64_t channels) {
  // 8192 weights stay in the first-level cache.
  return std::max<int64_t>(std::max<int64_t>(8192, 64 * k * std::max<int64_t>(channels, 1)) / columns, 1);
}

int64_t segment_partial_size(int64_t k, int64_t channels) { return channels == 0 ? k * kSegmentLanes : k * channels; }

template <typename Index>
void segment_add(int64_t rows, int64_t columns, const Index* indices, const float* x, int64_t k, int64_t channels, float* partial,
                 const SegmentAhead& ahead) {
  if (channels != 0) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t c = 0; c < columns; ++c) partial[c * k + indices[row * columns + c]] += x[row * columns + c];
    }
    return;
  }
  const auto add = [&](int64_t i, int64_t lane) { partial[indices[i] * kSegmentLanes + lane] += x[i]; };
  constexpr int64_t kAhead = 1024;  // far enough for memory
  const float *const first = ahead.arrays[0], *const second = ahead.arrays[1], *const third = ahead.arrays[2];
  const int64_t count = rows * columns;
  int64_t i = 0;
  // Unrolled, so that the processor learns for each lane by itself which store a load may have to wait for.
  for (; i + kSegmentLanes <= count; i += kSegmentLanes) {
    // Harmless beyond the end.
    __builtin_prefetch(indices + i + kAhead);
    __builtin_prefetch(x + i + kAhead);
    if (first != nullptr) __builtin_prefetch(first + i);
    if (second != nullptr) __builtin_prefetch(second + i);
    if (third != nullptr) __builtin_prefetch(third + i);
#pragma GCC unroll 16
    for (int64_t lane = 0; lane < kSegmentLanes; ++lane) add(i + lane, lane);
  }
  for (int64_t lane = 0; i < count; ++i, ++lane) add(i, lane);
}

void segment_finish(const float* partial, int64_t k, int64_t channels, float* sums) {
  if (channels != 0) {
    std::copy(partial, partial + k * channels, sums);
    return;
  }
  // Halves are added until one lane is left.
  typedef float Quarter __attribute__((vector_size(16)));
  for (int64_t j = 0; j < k; ++j) {
    Quarter q[4];
    static_assert(sizeof q == kSegmentLanes * sizeof(float));
    std::memcpy(q, partial + j * kSegmentLanes, sizeof q);
    const Quarter sum = (q[0] + q[2]) + (q[1] + q[3]);
    sums[j] = (sum[0] + sum[2]) + (sum[1] + sum[3]);
  }
}

void segment_reduce(const float* sums, int64_t blocks, int64_t size, const int32_t* counts, float* out) {
  for (int64_t j = 0; j < size; ++j) {
    double sum = 0;
    for (int64_t block = 0; block < blocks; ++block) sum += sums[block * size + j];
    out[j] = static_cast<float>(sum);
    if (counts != nullptr) out[j] = counts[j] == 0 ? 0.0f : out[j] / static_cast<float>(counts[j]);
  }
}

template <typename Index>
void segment_count(int64_t rows, int64_t columns, const Index* indices, int64_t k, int64_t channels, int32_t* counts) {
  std::fill(counts, counts + k * std::max<int64_t>(channels, 1), 0);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < columns; ++c) ++counts[(channels == 0 ? 0 : c * k) + indices[row * columns + c]];
  }
}

template void segment_add(int64_t, int64_t, const int32_t*, const float*, int64_t, int64_t, float*, const SegmentAhead&);
template void segment_add(int64_t, int64_t, const uint8_t*, const float*, int64_t, int64_t, float*, const SegmentAhead&);
template void segment_count(int64_t, int64_t, const int32_t*, int64_t, int64_t, int32_t*);
template void segment_count(int64_t, int64_t, const uint8_t*, int64_t, int64_t, int32_t*);

}  // namespace pcqat
