// Mask, nearest centroid, gather, extremes and the check of the promises in one pass. Part of compression_impl.h.

// Any instruction set: the kernels one after the other, on pieces that stay in the first-level cache.
void cluster_pieces(int64_t count, const ClusterBlock& b) {
  constexpr int64_t kPiece = 1024;
  int32_t piece[kPiece];
  for (int64_t i = 0; i < count; i += kPiece) {
    const int64_t size = count - i < kPiece ? count - i : kPiece;
    const Source weights{b.weight + i, b.mask == nullptr ? nullptr : b.mask + i};
    int32_t* const indices = b.indices == nullptr ? piece : b.indices + i;
    assign(1, size, weights, *b.book, indices);
    const Source table{b.table, nullptr, indices, 0, b.book->k};
    if (b.low != nullptr) extremes(1, size, {b.centroids, nullptr, indices, 0, b.book->k}, b.low, b.high);
    materialize(1, size, table, b.used + i);
    count_violations(1, size, b.used + i, weights.mask, table, b.violations);
    for (int64_t j = 0; b.indices == nullptr && j < size; ++j) b.small_indices[i + j] = static_cast<uint8_t>(indices[j]);
  }
}

#if PCQAT_LANES == 16

#include "simd/compression_cluster_base.h"
#include "simd/compression_cluster_grid.h"
#include "simd/compression_cluster_tree.h"

void cluster(int64_t count, const ClusterBlock& b) {
  using Run = bool (*)(int64_t, const ClusterBlock&, float*, float*);
  static constexpr Run kTree[kTreeLevels + 1] = {
      nullptr, cluster_by_tree<1>, cluster_by_tree<2>, cluster_by_tree<3>, cluster_by_tree<4>, cluster_by_tree<5>, cluster_by_tree<6>};
  const Codebook& book = *b.book;
  const Run run = book.levels == 0 && book.grid.cells > 0 ? cluster_by_grid : kTree[book.levels];
  float low, high;
  if (run == nullptr || !run(count, b, &low, &high)) return cluster_pieces(count, b);
  if (b.low == nullptr) return;
  const auto nearest = [&](float w) { return book.values[binary_search<Single>(book.thresholds, book.padded, w)]; };
  const float lowest = nearest(low), highest = nearest(high);
  *b.low = lowest < *b.low ? lowest : *b.low;
  *b.high = highest > *b.high ? highest : *b.high;
}

#else

void cluster(int64_t count, const ClusterBlock& block) { cluster_pieces(count, block); }

#endif
