#include <algorithm>

#include "compression/chain_workspace.h"
#include "compression/fake_quant.h"
#include "parallel/denormals.h"
#include "simd/compression_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

void weight_chain_backward(const WeightChain& c, const float* d_used, float* d_weight, float* d_centroids, void* workspace,
                           const Kernels& kernels, ThreadPool& pool) {
  if (c.size == 0) return;
  const FlushDenormals flush;  // as the workers do, so that it does not matter which thread takes a chunk
  const CompressionKernels& k = *kernels.compression;
  const ChainChunks chunks(c);
  const ChainWorkspace w = ChainWorkspace::carve(c, chunks, workspace);
  const bool quantize = c.min != nullptr, clustered = c.centroids != nullptr;

  if (clustered) pin_zero(c, w);
  NudgedRange range;
  if (quantize && c.range_per_channel)
    nudge_channels(c.min, c.max, c.channels, c.rule.bits, c.rule.narrow_range, w.ranges);
  else if (quantize)
    range = nudge_range(c.min[0], c.max[0], c.rule.bits, c.rule.narrow_range);

  // A last-value range holds every centroid that is used: the gradient passes everywhere, without a look at each weight.
  const auto inside = [&](float v) { return v >= range.min && v <= range.max; };
  const bool passes = !quantize || (clustered && !c.range_per_channel && !range.is_nan &&
                                    (range.is_zero || std::all_of(w.effective, w.effective + w.centroids, inside)));

  chunks.run(pool, [&](int64_t chunk, int64_t row, int64_t rows) {
    const int64_t offset = row * c.channels;
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
      segment_sum_block(rows, c.channels, c.indices + offset, dw, c.k, w.book_channels, w.partial_sums + chunk * w.partial_stride);
    }
    if (c.mask != nullptr && c.mask_gradient) k.materialize(rows, c.channels, {dw, c.mask + offset}, dw);
  });

  if (!clustered) return;
  if (c.average) segment_count(chunks.rows, c.channels, c.indices, c.k, w.book_channels, w.counts);
  segment_reduce(w.partial_sums, chunks.count, w.partial_stride, w.centroids, w.counts, d_centroids);
}

}  // namespace pcqat
