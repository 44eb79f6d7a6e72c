#include <algorithm>
#include <numeric>

#include "compression/chain_workspace.h"
#include "compression/fake_quant.h"
#include "parallel/denormals.h"
#include "simd/compression_kernels.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// Gradient, indices and mask of a piece stay in the first-level cache beside the sums, which a chunk may not.
constexpr int64_t kPieceWeights = 1024;

}  // namespace

double weight_chain_backward(const WeightChain& c, const float* d_used, float* d_weight, float* d_centroids, void* workspace,
                             const Kernels& kernels, ThreadPool& pool) {
  if (c.size == 0) return 0;
  const FlushDenormals flush;  // as the workers do, so that it does not matter which thread takes a chunk
  const CompressionKernels& k = *kernels.compression;
  const ChainChunks chunks(c);
  const ChainWorkspace w = ChainWorkspace::carve(c, chunks, pool.threads(), workspace);
  const bool quantize = c.min != nullptr, clustered = c.centroids != nullptr;

  if (clustered) pin_zero(c, w);
  NudgedRange range;
  if (quantize && c.range_per_channel)
    nudge_channels(c.min, c.max, c.channels, c.rule.bits, c.rule.narrow_range, w.ranges);
  else if (quantize)
    range = nudge_range(c.min[0], c.max[0], c.rule.bits, c.rule.narrow_range);

  // Where every centroid that is used lies inside the range, the gradient passes everywhere, without a look at each weight.
  // A last-value range was made from those that are used, so none of them lies beyond its ends before nudging.
  const auto passes_at = [&](float v) {
    const bool unused = c.rule.update == RangeUpdate::last_value && (v < c.min[0] || v > c.max[0]);
    return unused || (v >= range.min && v <= range.max);
  };
  const bool passes = !quantize || (clustered && !c.range_per_channel && !range.is_nan &&
                                    (range.is_zero || std::all_of(w.effective, w.effective + w.centroids, passes_at)));

  const int64_t rows_per_piece = std::max<int64_t>(kPieceWeights / c.channels, 1);
  chunks.run(pool, [&](int64_t chunk, int64_t chunk_row, int64_t chunk_rows, int worker) {
    float* const partial = w.partial_sums + worker * w.partial_stride;
    double& squares = w.squares[chunk];
    squares = 0;
    if (clustered) std::fill(partial, partial + w.partial_stride, 0.0f);
    for (int64_t first = 0; first < chunk_rows; first += rows_per_piece) {
      const int64_t rows = std::min(rows_per_piece, chunk_rows - first), offset = (chunk_row + first) * c.channels;
      const float* dy = d_used + offset;
      float* dw = d_weight + offset;
      if (!passes) {
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
        const int64_t start = chunk_row * c.channels;
        segment_add(first, first + rows, c.channels, c.indices + start, d_weight + start, c.k, w.book_channels, partial);
      }
      if (c.mask != nullptr && c.mask_gradient) k.materialize(rows, c.channels, {dw, c.mask + offset}, dw);
      squares += kernels.f32->sum_of_squares(rows * c.channels, dw);
    }
    if (clustered) segment_finish(partial, c.k, w.book_channels, w.chunk_sums + chunk * w.centroids);
  });

  if (clustered) {
    if (c.average) segment_count(chunks.rows, c.channels, c.indices, c.k, w.book_channels, w.counts);
    segment_reduce(w.chunk_sums, chunks.count, w.centroids, w.counts, d_centroids);
  }
  return std::accumulate(w.squares, w.squares + chunks.count, 0.0);
}

}  // namespace pcqat
