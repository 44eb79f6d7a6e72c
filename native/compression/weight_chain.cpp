#include "compression/weight_chain.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>
#include <utility>

#include "compression/chain_workspace.h"
#include "compression/fake_quant.h"
#include "parallel/denormals.h"
#include "simd/compression_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

using Workspace = ChainWorkspace;

// From here on the indices and used weights of a chain are written past the cache.
constexpr int64_t kStreamedWeights = 1 << 20;

Source weight_source(const WeightChain& c, int64_t offset) { return {c.weight + offset, c.mask == nullptr ? nullptr : c.mask + offset}; }

// The chunk's part of the range.
void measure(const WeightChain& c, const Workspace& w, int64_t chunk, int64_t rows, const Source& x, const CompressionKernels& k) {
  const int64_t ranges = c.range_per_channel ? c.channels : 1;
  float* highs = w.highs + chunk * ranges;
  std::fill(highs, highs + ranges, 0.0f);
  if (is_magnitude(c.rule)) {
    if (c.range_per_channel)
      k.max_abs_channels(rows, c.channels, x, highs);
    else
      *highs = k.max_abs(rows, c.channels, x);
    return;
  }
  float* lows = w.lows + chunk * ranges;
  std::fill(lows, lows + ranges, 0.0f);
  (c.range_per_channel ? k.extremes_channels : k.extremes)(rows, c.channels, x, lows, highs);
}

void update_ranges(const WeightChain& c, const Workspace& w, int64_t chunks) {
  const int64_t ranges = c.range_per_channel ? c.channels : 1;
  for (int64_t i = 0; i < ranges; ++i) {
    float low = 0, high = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      high = std::max(high, w.highs[chunk * ranges + i]);
      if (w.lows != nullptr) low = std::min(low, w.lows[chunk * ranges + i]);
    }
    if (w.lows == nullptr) low = 0.0f - high;
    update_range(c.rule, low, high, &c.min[i], &c.max[i]);
  }
}

// The range if the same centroids are at its ends as last time; on the first call any.
std::pair<float, float> likely_range(const WeightChain& c, const Codebook& book) {
  const float *first = book.values, *last = book.values + book.count[0];
  float low = *first, high = last[-1];
  if (c.rule.update == RangeUpdate::last_value) {
    const auto nearest_to = [&](float end) {
      return *std::min_element(first, last, [&](float a, float b) { return std::fabs(a - end) < std::fabs(b - end); });
    };
    low = nearest_to(*c.min);
    high = nearest_to(*c.max);
    // One of the two made both ends.
    if (c.rule.symmetric) low = high = std::fabs(low - *c.min) < std::fabs(high - *c.max) ? low : high;
  }
  float min = *c.min, max = *c.max;
  update_range(c.rule, low, high, &min, &max);
  return {min, max};
}

// Where the used weight comes from when it is clustered: quantizing the centroids quantizes every weight.
Source quantized_source(const WeightChain& c, const Workspace& w, int64_t offset) {
  const bool per_channel = c.range_per_channel || c.codebook_per_channel;
  return {w.quantized, nullptr, c.indices + offset, per_channel ? c.k : 0, c.k};
}

void quantize_centroids(const WeightChain& c, const Workspace& w, const NudgedRange& range, const CompressionKernels& k) {
  if (!c.range_per_channel) return k.fake_quantize(1, w.centroids, {w.effective}, range, false, w.quantized);
  for (int64_t channel = 0; channel < c.channels; ++channel) {
    const float* centroids = w.effective + (c.codebook_per_channel ? channel * c.k : 0);
    k.fake_quantize(1, c.k, {centroids}, nudge_range(c.min[channel], c.max[channel], c.rule.bits, c.rule.narrow_range), true,
                    w.quantized + channel * c.k);
  }
}

}  // namespace

size_t weight_chain_workspace(const WeightChain& chain, int threads) {
  Carver carver(nullptr);
  const Workspace measured(chain, ChainChunks(chain), threads, carver);
  static_cast<void>(measured);
  return carver.used();
}

bool runs_alone(const WeightChain& chain) { return ChainChunks(chain).count <= 1; }

namespace {

// Everything in one pass over the weights. It needs the range before it knows which centroids are used: the guess is that
// they are the same at the ends as last time. Where that is wrong, a second pass writes the used weights again.
void forward_clustered(const WeightChain& c, const Workspace& w, const ChainChunks& chunks, const Codebook& book, bool moves_range,
                       const CompressionKernels& k, ThreadPool& pool) {
  const bool quantize = c.min != nullptr;
  float guess[2] = {};
  const auto quantize_with = [&](float min, float max) {
    k.fake_quantize(1, c.k, {w.effective}, nudge_range(min, max, c.rule.bits, c.rule.narrow_range), false, w.quantized);
  };
  if (quantize) {
    std::tie(guess[0], guess[1]) = moves_range ? likely_range(c, book) : std::make_pair(c.min[0], c.max[0]);
    quantize_with(guess[0], guess[1]);
  }
  const float* table = quantize ? w.quantized : w.effective;
  float* const tree_values = static_cast<float*>(w.arranged);
  uint64_t* const pairs = static_cast<uint64_t*>(w.arranged);
  if (book.levels > 0)
    arrange_by_path(book, table, tree_values);
  else if (book.grid.cells > 0)
    arrange_pairs(book, table, pairs);
  const bool stream = c.size >= kStreamedWeights;
  chunks.run(pool, [&](int64_t chunk, int64_t row, int64_t rows, int) {
    const int64_t offset = row * c.channels;
    w.violations[chunk] = {};
    ClusterBlock block{};
    block.book = &book;
    block.centroids = w.effective;
    block.table = table;
    block.tree_values = tree_values;
    block.pairs = pairs;
    block.weight = c.weight + offset;
    block.mask = c.mask == nullptr ? nullptr : c.mask + offset;
    if (c.indices != nullptr)
      block.indices = c.indices + offset;
    else
      block.small_indices = c.small_indices + offset;
    block.used = c.used + offset;
    block.stream = stream;
    if (quantize && moves_range) {
      w.lows[chunk] = w.highs[chunk] = 0;
      block.low = w.lows + chunk;
      block.high = w.highs + chunk;
    }
    block.violations = w.violations + chunk;
    k.cluster(rows * c.channels, block);
  });
  if (!quantize || !moves_range) return;
  update_ranges(c, w, chunks.count);
  if (std::memcmp(&guess[0], c.min, sizeof(float)) == 0 && std::memcmp(&guess[1], c.max, sizeof(float)) == 0) return;
  quantize_with(c.min[0], c.max[0]);
  chunks.run(pool, [&](int64_t chunk, int64_t row, int64_t rows, int) {
    w.violations[chunk] = {};
    WideIndices indices;
    const int64_t end = (row + rows) * c.channels;
    for (int64_t at = row * c.channels; at < end; at += WideIndices::kMost) {
      const int64_t count = std::min(WideIndices::kMost, end - at);
      const Source x{w.quantized, nullptr, indices.of(c, at, count), 0, c.k};
      k.materialize(1, count, x, c.used + at);
      k.count_violations(1, count, c.used + at, c.mask == nullptr ? nullptr : c.mask + at, x, &w.violations[chunk]);
    }
  });
}

// Also of a weight without a codebook, and with one or a range for each channel.
void forward_in_passes(const WeightChain& c, const Workspace& w, const ChainChunks& chunks, const Codebook& book, bool moves_range,
                       const CompressionKernels& k, ThreadPool& pool) {
  const bool quantize = c.min != nullptr, clustered = c.centroids != nullptr;
  const auto verify = [&](int64_t chunk, int64_t offset, int64_t rows, const Source& table) {
    w.violations[chunk] = {};
    k.count_violations(rows, c.channels, c.used + offset, c.mask == nullptr ? nullptr : c.mask + offset, table, &w.violations[chunk]);
  };

  chunks.run(pool, [&](int64_t chunk, int64_t row, int64_t rows, int) {
    const int64_t offset = row * c.channels;
    if (clustered) k.assign(rows, c.channels, weight_source(c, offset), book, c.indices + offset);
    const Source x = chain_source(c, w, offset, clustered ? c.indices + offset : nullptr);
    if (quantize) {
      if (moves_range) measure(c, w, chunk, rows, x, k);
      return;
    }
    k.materialize(rows, c.channels, x, c.used + offset);
    verify(chunk, offset, rows, x);
  });

  if (quantize) {
    if (moves_range) update_ranges(c, w, chunks.count);
    NudgedRange range;
    if (c.range_per_channel)
      nudge_channels(c.min, c.max, c.channels, c.rule.bits, c.rule.narrow_range, w.ranges);
    else
      range = nudge_range(c.min[0], c.max[0], c.rule.bits, c.rule.narrow_range);
    if (clustered) quantize_centroids(c, w, range, k);
    chunks.run(pool, [&](int64_t chunk, int64_t row, int64_t rows, int) {
      const int64_t offset = row * c.channels;
      const Source x = clustered ? quantized_source(c, w, offset) : weight_source(c, offset);
      if (clustered)
        k.materialize(rows, c.channels, x, c.used + offset);
      else if (c.range_per_channel)
        k.fake_quantize_channels(rows, c.channels, x, w.ranges.view(), c.used + offset);
      else
        k.fake_quantize(rows, c.channels, x, range, false, c.used + offset);
      verify(chunk, offset, rows, x);
    });
  }
}

}  // namespace

ChainViolations weight_chain_forward(const WeightChain& c, bool training, void* workspace, const Kernels& kernels, ThreadPool& pool) {
  if (c.size == 0) return {};
  const FlushDenormals flush;  // as the workers do, so that it does not matter which thread takes a chunk
  const CompressionKernels& k = *kernels.compression;
  const ChainChunks chunks(c);
  const Workspace w = Workspace::carve(c, chunks, pool.threads(), workspace);
  const bool moves_range = c.rule.update == RangeUpdate::last_value || (training && c.rule.update != RangeUpdate::none);
  Codebook book;
  if (c.centroids != nullptr) {
    pin_zero(c, w);
    if (training) std::copy(w.effective, w.effective + w.centroids, c.centroids);
    book = prepare_codebook(w.effective, c.k, w.book_channels, w.search);
  }

  (clusters_in_one_pass(c) ? forward_clustered : forward_in_passes)(c, w, chunks, book, moves_range, k, pool);

  if (c.table != nullptr) {
    const float* table = c.min == nullptr ? w.effective : w.quantized;
    std::copy(table, table + c.k, c.table);
  }

  ChainViolations total;
  for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
    total.zeros += w.violations[chunk].zeros;
    total.clusters += w.violations[chunk].clusters;
  }
  return total;
}

}  // namespace pcqat
