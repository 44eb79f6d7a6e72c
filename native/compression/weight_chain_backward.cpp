#include <algorithm>
#include <numeric>

#include "compression/chain_workspace.h"
#include "compression/fake_quant.h"
#include "optim/optimizer.h"
#include "parallel/denormals.h"
#include "simd/compression_kernels.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

template <typename Body>
void with_indices(const WeightChain& c, Body&& body) {
  if (c.indices != nullptr)
    body(c.indices);
  else
    body(c.small_indices);
}

SegmentAhead read_next(const TensorUpdate* update, int64_t at) {
  SegmentAhead ahead;
  for (int i = 0; update != nullptr && i < TensorUpdate::kArrays; ++i) {
    if (update->arrays()[i] != nullptr) ahead.arrays[i] = update->arrays()[i] + at;
  }
  return ahead;
}

}  // namespace

double weight_chain_backward(const WeightChain& c, const float* d_used, float* d_weight, float* d_centroids, void* workspace,
                             const Kernels& kernels, ThreadPool& pool, const TensorUpdate* update) {
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

  const int64_t piece = piece_weights(c);
  const bool masks = c.mask != nullptr && c.mask_gradient;
  chunks.run(pool, [&](int64_t chunk, int64_t chunk_row, int64_t chunk_rows, int worker) {
    float* const partial = w.partial_sums + worker * w.partial_stride;
    double& squares = w.squares[chunk];
    squares = 0;
    if (clustered) std::fill(partial, partial + w.partial_stride, 0.0f);
    WideIndices indices;
    const int64_t end = (chunk_row + chunk_rows) * c.channels;
    for (int64_t at = chunk_row * c.channels; at < end; at += piece) {
      const int64_t count = std::min(piece, end - at), columns = differs_by_channel(c) ? c.channels : count, rows = count / columns;
      const float* dy = d_used + at;
      float* dw = d_weight + at;
      if (!passes) {
        const Source x = chain_source(c, w, at, clustered ? indices.of(c, at, count) : nullptr);
        if (c.range_per_channel)
          k.fake_quantize_gradient_channels(rows, columns, x, w.ranges.view(), dy, dw);
        else
          k.fake_quantize_gradient(rows, columns, x, range, dy, dw);
      } else if (dw != dy) {
        k.materialize(rows, columns, {dy}, dw);
      }
      // The centroids see the gradient of every weight, also of masked ones (spec 2.5).
      if (clustered) {
        with_indices(c, [&](const auto* all) {
          segment_add(rows, columns, all + at, dw, c.k, w.book_channels, partial, read_next(update, at + count));
        });
      }
      const float* gradient = dw;
      if (masks) {
        float* const masked = update == nullptr ? dw : w.piece + worker * piece;
        k.materialize(rows, columns, {dw, c.mask + at}, masked);
        gradient = masked;
      }
      squares += kernels.f32->sum_of_squares(count, gradient);
      if (update != nullptr) update->piece(at, count, gradient, *kernels.f32);
    }
    if (clustered) segment_finish(partial, c.k, w.book_channels, w.chunk_sums + chunk * w.centroids);
  });

  if (clustered) {
    if (c.average) {
      with_indices(c, [&](const auto* all) { segment_count(chunks.rows, c.channels, all, c.k, w.book_channels, w.counts); });
    }
    segment_reduce(w.chunk_sums, chunks.count, w.centroids, w.counts, d_centroids);
  }
  return std::accumulate(w.squares, w.squares + chunks.count, 0.0);
}

}  // namespace pcqat
