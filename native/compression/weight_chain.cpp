#include "compression/weight_chain.h"

#include <algorithm>

#include "carver.h"
#include "compression/channel_ranges.h"
#include "compression/codebook.h"
#include "compression/fake_quant.h"
#include "compression/segment_sum.h"
#include "parallel/denormals.h"
#include "parallel/thread_pool.h"
#include "simd/compression_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// Weights of a chunk stay in the first-level cache between the passes over them.
constexpr int64_t kChunkWeights = 8192;

// The weight is cut into chunks of whole rows; a row holds one value per channel.
struct Chunks {
  int64_t rows, rows_per_chunk, count;

  explicit Chunks(const WeightChain& c) {
    rows = c.size / c.channels;
    rows_per_chunk = c.centroids == nullptr ? std::max<int64_t>(kChunkWeights / c.channels, 1)
                                            : segment_rows_per_block(c.channels, c.k, c.codebook_per_channel ? c.channels : 0);
    count = (rows + rows_per_chunk - 1) / rows_per_chunk;
  }
};

// [-a, a] needs the largest magnitude only.
bool is_magnitude(const RangeRule& rule) { return rule.symmetric && rule.narrow_range; }

struct Workspace {
  float* effective = nullptr;  // centroids with the zero centroid pinned
  void* search = nullptr;
  float* quantized = nullptr;  // fake-quantized centroids: as many as centroids, or k for each channel with a range
  float* partial_sums = nullptr;
  int32_t* counts = nullptr;
  float* lows = nullptr;                  // per chunk: the smallest and largest value and 0, or one pair per channel
  float* highs = nullptr;                 // (symmetric and narrow: the largest magnitude)
  ChainViolations* violations = nullptr;  // per chunk
  ChannelRangeArrays ranges{};

  int64_t centroids = 0;  // all of them
  int64_t partial_stride = 0;
  int64_t book_channels = 0;

  Workspace(const WeightChain& c, const Chunks& chunks, Carver& carver) {
    if (c.centroids != nullptr) {
      book_channels = c.codebook_per_channel ? c.channels : 0;
      centroids = c.k * std::max<int64_t>(book_channels, 1);
      effective = carver.take<float>(centroids);
      search = carver.take<char>(static_cast<int64_t>(codebook_bytes(c.k, book_channels)));
      if (c.min != nullptr) quantized = carver.take<float>(c.range_per_channel ? c.k * c.channels : centroids);
      partial_stride = segment_partial_size(c.k, book_channels);
      partial_sums = carver.take<float>(partial_stride * chunks.count);
      if (c.average) counts = carver.take<int32_t>(centroids);
    }
    if (c.min != nullptr) {
      const int64_t ranges = chunks.count * (c.range_per_channel ? c.channels : 1);
      if (!is_magnitude(c.rule)) lows = carver.take<float>(ranges);
      highs = carver.take<float>(ranges);
      if (c.range_per_channel) this->ranges = carve_channel_ranges(carver, c.channels);
    }
    violations = carver.take<ChainViolations>(chunks.count);
  }
};

Workspace carve(const WeightChain& c, const Chunks& chunks, void* memory) {
  Carver carver(memory);
  return Workspace(c, chunks, carver);
}

// Runs body(row, rows) for every chunk; a single chunk does not wake the workers.
template <typename Body>
void for_chunks(const Chunks& chunks, ThreadPool& pool, Body&& body) {
  const auto run = [&](int64_t chunk) {
    const int64_t row = chunk * chunks.rows_per_chunk;
    body(chunk, row, std::min(chunks.rows_per_chunk, chunks.rows - row));
  };
  if (chunks.count == 1)
    run(0);
  else
    pool.parallel_for(chunks.count, run);
}

// Spec 2.6 step 1 and 4.5 step 1: the zero centroid stays zero.
void pin_zero(const WeightChain& c, const Workspace& w) {
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

// What is fake-quantized: the masked weight, or the centroid of each weight.
Source clustered_source(const WeightChain& c, const Workspace& w, int64_t offset) {
  return {w.effective, nullptr, c.indices + offset, c.codebook_per_channel ? c.k : 0, c.k};
}

Source weight_source(const WeightChain& c, int64_t offset) { return {c.weight + offset, c.mask == nullptr ? nullptr : c.mask + offset}; }

Source chain_source(const WeightChain& c, const Workspace& w, int64_t offset) {
  return c.centroids == nullptr ? weight_source(c, offset) : clustered_source(c, w, offset);
}

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

size_t weight_chain_workspace(const WeightChain& chain) {
  Carver carver(nullptr);
  const Workspace measured(chain, Chunks(chain), carver);
  static_cast<void>(measured);
  return carver.used();
}

ChainViolations weight_chain_forward(const WeightChain& c, bool training, void* workspace, const Kernels& kernels, ThreadPool& pool) {
  if (c.size == 0) return {};
  const FlushDenormals flush;  // as the workers do, so that it does not matter which thread takes a chunk
  const CompressionKernels& k = *kernels.compression;
  const Chunks chunks(c);
  const Workspace w = carve(c, chunks, workspace);
  const bool quantize = c.min != nullptr, clustered = c.centroids != nullptr;
  const bool write_back = training && c.mask != nullptr && c.mask_write_back;
  const bool moves_range = c.rule.update == RangeUpdate::last_value || (training && c.rule.update != RangeUpdate::none);
  const auto verify = [&](int64_t chunk, int64_t offset, int64_t rows, const Source& table) {
    w.violations[chunk] = {};
    k.count_violations(rows, c.channels, c.used + offset, c.mask == nullptr ? nullptr : c.mask + offset, table, &w.violations[chunk]);
  };

  Codebook book;
  if (clustered) {
    pin_zero(c, w);
    if (training) std::copy(w.effective, w.effective + w.centroids, c.centroids);
    book = prepare_codebook(w.effective, c.k, w.book_channels, w.search);
  }

  for_chunks(chunks, pool, [&](int64_t chunk, int64_t row, int64_t rows) {
    const int64_t offset = row * c.channels;
    if (clustered)
      k.assign(rows, c.channels, weight_source(c, offset), book, write_back ? c.weight + offset : nullptr, c.indices + offset);
    else if (write_back)
      k.materialize(rows, c.channels, weight_source(c, offset), c.weight + offset);
    const Source x = chain_source(c, w, offset);
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
    for_chunks(chunks, pool, [&](int64_t chunk, int64_t row, int64_t rows) {
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

  ChainViolations total;
  for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
    total.zeros += w.violations[chunk].zeros;
    total.clusters += w.violations[chunk].clusters;
  }
  return total;
}

void weight_chain_backward(const WeightChain& c, const float* d_used, float* d_weight, float* d_centroids, void* workspace,
                           const Kernels& kernels, ThreadPool& pool) {
  if (c.size == 0) return;
  const FlushDenormals flush;  // as the workers do, so that it does not matter which thread takes a chunk
  const CompressionKernels& k = *kernels.compression;
  const Chunks chunks(c);
  const Workspace w = carve(c, chunks, workspace);
  const bool quantize = c.min != nullptr, clustered = c.centroids != nullptr;

  if (clustered) pin_zero(c, w);
  NudgedRange range;
  if (quantize && c.range_per_channel)
    nudge_channels(c.min, c.max, c.channels, c.rule.bits, c.rule.narrow_range, w.ranges);
  else if (quantize)
    range = nudge_range(c.min[0], c.max[0], c.rule.bits, c.rule.narrow_range);

  for_chunks(chunks, pool, [&](int64_t chunk, int64_t row, int64_t rows) {
    const int64_t offset = row * c.channels;
    const float* dy = d_used + offset;
    float* dw = d_weight + offset;
    if (quantize) {
      const Source x = chain_source(c, w, offset);
      if (c.range_per_channel)
        k.fake_quantize_gradient_channels(rows, c.channels, x, w.ranges.view(), dy, dw);
      else
        k.fake_quantize_gradient(rows, c.channels, x, range, dy, dw);
    } else if (dw != dy) {
      k.materialize(rows, c.channels, {dy}, dw);
    }
    // The centroids see the gradient of every weight, also of masked ones (spec 2.5).
    if (clustered) {
      segment_sum_block(rows, c.channels, c.indices + offset, dw, c.k, w.book_channels, w.partial_sums + chunk * w.partial_stride);
    }
    if (c.mask != nullptr && c.mask_gradient) k.materialize(rows, c.channels, {dw, c.mask + offset}, dw);
  });

  if (!clustered) return;
  if (c.average) segment_count(chunks.rows, c.channels, c.indices, c.k, w.book_channels, w.counts);
  segment_reduce(w.partial_sums, chunks.count, w.partial_stride, w.centroids, w.counts, d_centroids);
}

}  // namespace pcqat
