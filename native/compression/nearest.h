// The exact nearest-centroid search, for the CPU and the GPU.
#pragma once

#include <math.h>

#include "simd/compression_kernels.h"

#if defined(__CUDACC__)
#define PCQAT_HOST_DEVICE __host__ __device__
#else
#define PCQAT_HOST_DEVICE
#endif

namespace pcqat {

// Smallest of order[begin..end) from the tree of minima over `count` entries, leaves at [count, 2 count).
PCQAT_HOST_DEVICE inline int32_t tree_minimum(const int32_t* tree, int64_t count, int64_t begin, int64_t end) {
  int32_t best = INT32_MAX;
  for (begin += count, end += count; begin < end; begin /= 2, end /= 2) {
    if (begin & 1) {
      if (tree[begin] < best) best = tree[begin];
      ++begin;
    }
    if (end & 1) {
      --end;
      if (tree[end] < best) best = tree[end];
    }
  }
  return best;
}

// Binary search, then the lowest index among all centroids at the smallest rounded distance. NaN: 0.
PCQAT_HOST_DEVICE inline int32_t nearest_in_codebook(const Codebook& codebook, int64_t row, float w) {
  if (w != w) return 0;
  const int64_t count = codebook.count[row];
  const float* values = codebook.values + row * codebook.k;
  int64_t right = 0;  // first value >= w
  for (int64_t high = count; right < high;) {
    const int64_t middle = (right + high) / 2;
    if (values[middle] < w)
      right = middle + 1;
    else
      high = middle;
  }
  float best = INFINITY;
  if (right < count) best = fabsf(w - values[right]);
  if (right > 0 && fabsf(w - values[right - 1]) < best) best = fabsf(w - values[right - 1]);
  // Distances never fall away from w, so the ones equal to the best are a run on each side of it.
  int64_t begin = right, end = right;
  for (int64_t low = 0; low < begin;) {
    const int64_t middle = (low + begin) / 2;
    if (fabsf(w - values[middle]) <= best)
      begin = middle;
    else
      low = middle + 1;
  }
  for (int64_t high = count; end < high;) {
    const int64_t middle = (end + high) / 2;
    if (fabsf(w - values[middle]) <= best)
      end = middle + 1;
    else
      high = middle;
  }
  if (begin >= end) return 0;  // only with NaN centroids
  return tree_minimum(codebook.lowest + row * 2 * codebook.k, count, begin, end);
}

}  // namespace pcqat
