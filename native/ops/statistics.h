// Batch statistics of a layer's output, taken block by block while the layer computes it.
#pragma once

#include <limits>

#include "carver.h"
#include "ops/chunks.h"
#include "ops/common.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

// Sums per chunk and channel, taken relative to the chunk's first row, so that a large mean does not drown the variance.
struct OutputStatistics {
  Chunks chunks{0, 0, 1};  // of rows; whoever takes the sums sets them
  double* sum = nullptr;
  double* squares = nullptr;
  float* low = nullptr;
  float* high = nullptr;

  static OutputStatistics plan(int64_t channels, Carver& memory) {
    const int64_t size = kMaxChunks * channels;
    OutputStatistics statistics;
    statistics.sum = memory.take<double>(size);
    statistics.squares = memory.take<double>(size);
    statistics.low = memory.take<float>(size);
    statistics.high = memory.take<float>(size);
    return statistics;
  }

  // Rows [first, first + rows) of x, in order within a chunk.
  void take(int64_t chunk, int64_t first, int64_t rows, int64_t channels, const float* x, const F32Kernels& kernels) const {
    const int64_t at = chunk * channels, begin = chunks.begin(chunk);
    kernels.channel_statistics(rows, channels, x + first * channels, x + begin * channels, first != begin,
                               {sum + at, squares + at, low + at, high + at});
  }
};

// `items` of a small batch from which a layer cuts it in two: in training only, whose threads are awake, with layers before and after it.
// To wake one for a single image takes as long as the image.
inline int64_t cuts_in_two(const OutputStatistics* statistics, int64_t items) {
  return statistics == nullptr ? std::numeric_limits<int64_t>::max() : items;
}

// Computes an output of `channels` per row: write(first, count, worker) for blocks of at most `block` rows, chunk by chunk. With
// `statistics` its sums are taken of each block while it is in the cache, and its chunks are set.
template <typename Write>
void write_output(const Chunks& chunks, int64_t block, int64_t channels, const float* y, OutputStatistics* statistics,
                  const Context& context, Write&& write) {
  if (statistics != nullptr) statistics->chunks = chunks;
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    for (int64_t first = chunks.begin(chunk); first < chunks.end(chunk); first += block) {
      const int64_t count = std::min(block, chunks.end(chunk) - first);
      write(first, count, worker);
      if (statistics != nullptr) statistics->take(chunk, first, count, channels, y, *context.kernels.f32);
    }
  });
}

// In a pass of its own.
void take_statistics(int64_t count, int64_t channels, const float* x, OutputStatistics* statistics, const Context& context);

}  // namespace pcqat
