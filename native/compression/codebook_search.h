// What is searched when one codebook serves all weights and has more thresholds than are worth counting: a grid, or with
// AVX-512 a tree as long as that fits into registers. Both come from the thresholds and give the same positions as counting.
//
// The grid cuts the range of the thresholds into equal cells. A weight's cell never falls as the weight grows, so the
// thresholds of lower cells lie below it and those of higher cells above; if its own cell has one threshold, a single
// comparison gives its position exactly. Cells with more are rare, and their weights take a binary search. The time does not
// depend on the number of centroids.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "simd/compression_kernels.h"

namespace pcqat {

// The float as an integer that sorts like it; -0 and +0 are the same.
inline int32_t to_key(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits >= 0 ? bits : std::numeric_limits<int32_t>::min() - bits;
}

// Floats of a table of k entries that is looked up in registers: a power of two, at least 16.
int64_t register_table_size(int64_t k);

// tree: kLevelOffset[levels] floats; tree_order: register_table_size(k).
void build_search_tree(int64_t levels, const float* thresholds, const int32_t* order, int64_t count, float* tree, int32_t* tree_order);

// Cells of the grid for k centroids, 0 for none.
int64_t grid_cells(int64_t k);

// `count` thresholds of at most k - 1. Without cells if too many thresholds share theirs.
SearchGrid build_search_grid(const float* thresholds, int64_t count, int64_t cells, int64_t k, uint64_t* entries);

// Bytes of what ClusterBlock's tree_values or pairs need for k centroids.
int64_t arranged_bytes(int64_t k);

// ClusterBlock's tree_values: out[path] = table[book.tree_order[path]].
void arrange_by_path(const Codebook& book, const float* table, float* out);

// ClusterBlock's pairs.
void arrange_pairs(const Codebook& book, const float* table, uint64_t* out);

}  // namespace pcqat
