#include "compression/functions.h"

#include <algorithm>
#include <vector>

#include "compression/channel_ranges.h"
#include "compression/codebook.h"
#include "compression/fake_quant.h"
#include "compression/segment_sum.h"
#include "simd/compression_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// The tensor as rows of one value per channel, or as one row.
struct Block {
  int64_t rows, columns;
  Block(int64_t size, int64_t channels) : rows(channels == 0 ? 1 : size / channels), columns(channels == 0 ? size : channels) {}
};

class ChannelQuantization {
 public:
  explicit ChannelQuantization(const FakeQuantOptions& o) {
    Carver measure(nullptr);
    carve_channel_ranges(measure, o.channels);
    memory_.resize(measure.used());
    Carver carver(memory_.data());
    ranges_ = carve_channel_ranges(carver, o.channels);
    nudge_channels(o.min, o.max, o.channels, o.bits, o.narrow_range, ranges_);
  }
  ChannelRanges view() const { return ranges_.view(); }

 private:
  std::vector<char> memory_;
  ChannelRangeArrays ranges_;
};

}  // namespace

void apply_mask(const Kernels& kernels, int64_t size, const uint8_t* mask, float* w) {
  kernels.compression->materialize(1, size, {w, mask}, w);
}

void assign_centroids(const Kernels& kernels, int64_t size, const float* w, const float* centroids, int64_t k, int64_t channels,
                      int32_t* indices) {
  std::vector<char> memory(codebook_bytes(k, channels));
  const Codebook book = prepare_codebook(centroids, k, channels, memory.data());
  const Block block(size, channels);
  kernels.compression->assign(block.rows, block.columns, {w}, book, indices);
}

void gather_centroids(const Kernels& kernels, int64_t size, const int32_t* indices, const float* centroids, int64_t k, int64_t channels,
                      float* out) {
  const Block block(size, channels);
  kernels.compression->materialize(block.rows, block.columns, {centroids, nullptr, indices, channels == 0 ? 0 : k, k}, out);
}

void centroid_gradient(int64_t size, const int32_t* indices, const float* gradient, int64_t k, int64_t channels, bool average, float* out) {
  const int64_t columns = std::max<int64_t>(channels, 1), rows = size / columns, centroids = k * columns;
  const int64_t rows_per_block = segment_rows_per_block(columns, k, channels), blocks = (rows + rows_per_block - 1) / rows_per_block;
  std::vector<float> partial(static_cast<size_t>(segment_partial_size(k, channels))), sums(static_cast<size_t>(blocks * centroids));
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t row = b * rows_per_block, offset = row * columns;
    std::fill(partial.begin(), partial.end(), 0.0f);
    segment_add(std::min(rows_per_block, rows - row), columns, indices + offset, gradient + offset, k, channels, partial.data());
    segment_finish(partial.data(), k, channels, sums.data() + b * centroids);
  }
  std::vector<int32_t> counts(average ? static_cast<size_t>(centroids) : 0);
  if (average) segment_count(rows, columns, indices, k, channels, counts.data());
  segment_reduce(sums.data(), blocks, centroids, average ? counts.data() : nullptr, out);
}

void fake_quantize(const Kernels& kernels, int64_t size, const float* x, const FakeQuantOptions& o, float* out) {
  const Block block(size, o.channels);
  if (o.channels == 0) {
    return kernels.compression->fake_quantize(1, size, {x}, nudge_range(o.min[0], o.max[0], o.bits, o.narrow_range), false, out);
  }
  kernels.compression->fake_quantize_channels(block.rows, block.columns, {x}, ChannelQuantization(o).view(), out);
}

void fake_quantize_gradient(const Kernels& kernels, int64_t size, const float* dy, const float* x, const FakeQuantOptions& o, float* dx) {
  const Block block(size, o.channels);
  if (o.channels == 0) {
    return kernels.compression->fake_quantize_gradient(1, size, {x}, nudge_range(o.min[0], o.max[0], o.bits, o.narrow_range), dy, dx);
  }
  kernels.compression->fake_quantize_gradient_channels(block.rows, block.columns, {x}, ChannelQuantization(o).view(), dy, dx);
}

void symmetric_range(const Kernels& kernels, int64_t size, const float* w, int64_t channels, float* min, float* max) {
  const Block block(size, channels);
  if (channels == 0) {
    max[0] = kernels.compression->max_abs(1, size, {w});
  } else {
    std::fill(max, max + channels, 0.0f);
    kernels.compression->max_abs_channels(block.rows, block.columns, {w}, max);
  }
  // 0 - a, so that an all-zero weight has the range [+0, +0].
  for (int64_t i = 0; i < std::max<int64_t>(channels, 1); ++i) min[i] = 0.0f - max[i];
}

}  // namespace pcqat
