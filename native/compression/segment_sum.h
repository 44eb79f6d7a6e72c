// Sum of a gradient over the weights of each cluster, in a fixed order. Indices are int32_t or uint8_t.
#pragma once

#include <cstdint>

namespace pcqat {

// Element i of a block goes to partial sum i mod 16 of its cluster: neighbours never wait for each other's addition, and
// the order does not depend on the instruction set.
constexpr int64_t kSegmentLanes = 16;

// Rows of one block, from the shape only: enough weights to make partial sums cheap beside them, few enough to bound the
// error of an f32 sum.
int64_t segment_rows_per_block(int64_t columns, int64_t k, int64_t channels);

// Floats that the sums of one block need while they grow: [k] and lanes (channels = 0), or [channels, k].
int64_t segment_partial_size(int64_t k, int64_t channels);

// What is read next, fetched line by line while a piece is summed; null: nothing.
struct SegmentAhead {
  const float* arrays[3] = {};
};

// Adds rows of `columns` values, row-major. A block may be added in pieces, all but the last of whole lanes (or rows, with `channels`).
template <typename Index>
void segment_add(int64_t rows, int64_t columns, const Index* indices, const float* x, int64_t k, int64_t channels, float* partial,
                 const SegmentAhead& ahead = {});

// The block's sums: k or channels * k. Overwrites nothing but `sums`.
void segment_finish(const float* partial, int64_t k, int64_t channels, float* sums);

// out[j] = sum over the blocks' sums, in block order, accumulated in double;
// with `counts` (average) divided by the number of weights in the cluster, 0 where there is none.
void segment_reduce(const float* sums, int64_t blocks, int64_t size, const int32_t* counts, float* out);

// counts[j] = number of weights of cluster j, layout as the sums.
template <typename Index>
void segment_count(int64_t rows, int64_t columns, const Index* indices, int64_t k, int64_t channels, int32_t* counts);

}  // namespace pcqat
