// How a weight chain is cut into chunks, and its scratch memory. Internal to weight_chain*.cpp.
#pragma once

#include <algorithm>

#include "carver.h"
#include "compression/channel_ranges.h"
#include "compression/codebook.h"
#include "compression/codebook_search.h"
#include "compression/segment_sum.h"
#include "compression/weight_chain.h"
#include "parallel/thread_pool.h"

namespace pcqat {

// Weights of a chunk stay in the first-level cache between the passes over them.
constexpr int64_t kChunkWeights = 8192;

// The weight is cut into chunks of whole rows; a row holds one value per channel.
struct ChainChunks {
  int64_t rows, rows_per_chunk, count;

  explicit ChainChunks(const WeightChain& c) {
    rows = c.size / c.channels;
    rows_per_chunk = c.centroids == nullptr ? std::max<int64_t>(kChunkWeights / c.channels, 1)
                                            : segment_rows_per_block(c.channels, c.k, c.codebook_per_channel ? c.channels : 0);
    count = (rows + rows_per_chunk - 1) / rows_per_chunk;
  }

  // Runs body(chunk, row, rows, worker) for every chunk; a single chunk does not wake the workers.
  template <typename Body>
  void run(ThreadPool& pool, Body&& body) const {
    const auto run = [&](int64_t chunk, int worker) {
      const int64_t row = chunk * rows_per_chunk;
      body(chunk, row, std::min(rows_per_chunk, rows - row), worker);
    };
    if (count == 1)
      run(0, 0);
    else
      pool.parallel_for(count, run);
  }
};

// The backward pass goes through a chunk in pieces: their gradient, indices, mask and what the optimizer reads and writes of two of them
// stay in the first-level cache beside the sums, which a chunk may not. Pieces of whole rows where channels differ.
constexpr int64_t kPieceWeights = 512;

inline bool differs_by_channel(const WeightChain& c) {
  return (c.centroids != nullptr && c.codebook_per_channel) || (c.min != nullptr && c.range_per_channel);
}

inline int64_t piece_weights(const WeightChain& c) {
  return differs_by_channel(c) ? std::max<int64_t>(kPieceWeights / c.channels, 1) * c.channels : kPieceWeights;
}

// [-a, a] needs the largest magnitude only.
inline bool is_magnitude(const RangeRule& rule) { return rule.symmetric && rule.narrow_range; }

// One codebook and one range: a single pass over the weights does everything.
inline bool clusters_in_one_pass(const WeightChain& c) {
  return c.centroids != nullptr && !c.codebook_per_channel && (c.min == nullptr || !c.range_per_channel);
}

struct ChainWorkspace {
  float* effective = nullptr;  // centroids with the zero centroid pinned
  void* search = nullptr;
  float* quantized = nullptr;     // fake-quantized centroids: as many as centroids, or k for each channel with a range
  void* arranged = nullptr;       // in one pass: tree_values or pairs of ClusterBlock
  float* partial_sums = nullptr;  // per worker: of a chunk's gradient, while they grow
  float* piece = nullptr;         // per worker: the gradient of a piece on its way to the optimizer
  float* chunk_sums = nullptr;    // per chunk
  int32_t* counts = nullptr;
  float* lows = nullptr;                  // per chunk: the smallest and largest value and 0, or one pair per channel
  float* highs = nullptr;                 // (symmetric and narrow, not in one pass: the largest magnitude)
  ChainViolations* violations = nullptr;  // per chunk
  double* squares = nullptr;              // per chunk: of the weight's gradient, summed
  ChannelRangeArrays ranges{};

  int64_t centroids = 0;  // all of them
  int64_t partial_stride = 0;
  int64_t book_channels = 0;

  ChainWorkspace(const WeightChain& c, const ChainChunks& chunks, int threads, Carver& carver) {
    const bool one_pass = clusters_in_one_pass(c);
    if (c.centroids != nullptr) {
      book_channels = c.codebook_per_channel ? c.channels : 0;
      centroids = c.k * std::max<int64_t>(book_channels, 1);
      effective = carver.take<float>(one_pass ? register_table_size(c.k) : centroids);
      search = carver.take<char>(static_cast<int64_t>(codebook_bytes(c.k, book_channels)));
      if (c.min != nullptr) {
        quantized = carver.take<float>(one_pass ? register_table_size(c.k) : c.range_per_channel ? c.k * c.channels : centroids);
      }
      if (one_pass) arranged = carver.take<char>(arranged_bytes(c.k));
      partial_stride = (segment_partial_size(c.k, book_channels) + 15) / 16 * 16;
      partial_sums = carver.take<float>(partial_stride * threads);
      chunk_sums = carver.take<float>(centroids * chunks.count);
      if (c.average) counts = carver.take<int32_t>(centroids);
    }
    if (c.min != nullptr) {
      const int64_t ranges = chunks.count * (c.range_per_channel ? c.channels : 1);
      if (one_pass || !is_magnitude(c.rule)) lows = carver.take<float>(ranges);
      highs = carver.take<float>(ranges);
      if (c.range_per_channel) this->ranges = carve_channel_ranges(carver, c.channels);
    }
    piece = carver.take<float>(piece_weights(c) * threads);
    violations = carver.take<ChainViolations>(chunks.count);
    squares = carver.take<double>(chunks.count);
  }

  static ChainWorkspace carve(const WeightChain& c, const ChainChunks& chunks, int threads, void* memory) {
    Carver carver(memory);
    return ChainWorkspace(c, chunks, threads, carver);
  }
};

// Some indices of a chain, as kernels read them.
class WideIndices {
 public:
  static constexpr int64_t kMost = kPieceWeights;  // where they are small

  const int32_t* of(const WeightChain& c, int64_t offset, int64_t count) {
    if (c.indices != nullptr) return c.indices + offset;
    std::copy(c.small_indices + offset, c.small_indices + offset + count, wide_);
    return wide_;
  }

 private:
  int32_t wide_[kMost];
};

// What is fake-quantized: the masked weight, or the centroid of each weight.
inline Source chain_source(const WeightChain& c, const ChainWorkspace& w, int64_t offset, const int32_t* indices) {
  if (c.centroids == nullptr) return {c.weight + offset, c.mask == nullptr ? nullptr : c.mask + offset};
  return {w.effective, nullptr, indices, c.codebook_per_channel ? c.k : 0, c.k};
}

// Spec 2.6 step 1 and 4.5 step 1: the zero centroid stays zero.
inline void pin_zero(const WeightChain& c, const ChainWorkspace& w) {
  std::copy(c.centroids, c.centroids + w.centroids, w.effective);
  if (c.zero_index == nullptr) return;
  for (int64_t row = 0; row < w.centroids / c.k; ++row) {
    const int32_t zero = c.zero_index[row];
    if (zero < 0 || zero >= c.k) continue;
    float* centroids = w.effective + row * c.k;
    const float value = centroids[zero];
    if (c.zero_pin_equal) std::replace(centroids, centroids + c.k, value, 0.0f);
    centroids[zero] = 0;
  }
}

}  // namespace pcqat
