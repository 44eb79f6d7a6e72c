// The compression kernels of one instruction set: mask, nearest centroid, gather, range, fake quantization.
//
// All of them walk a block of `rows` x `columns` values, row-major and contiguous. What does not depend on the channel
// passes one long row. Every instruction set gives the same bits.
#pragma once

#include <cstdint>

namespace pcqat {

struct NudgedRange;

// Where a kernel's values come from, so that masking and gathering need no pass of their own:
//   x[i]                               plain
//   mask[i] ? x[i] : +0                with a mask
//   x[column * stride + indices[i]]    with indices: x is the codebook, [K] (stride 0) or [columns, K] (stride K)
struct Source {
  const float* x;
  const uint8_t* mask = nullptr;
  const int32_t* indices = nullptr;
  int64_t stride = 0;
  int64_t k = 0;  // with indices: entries of a codebook row
};

// Weights that break a promise of their chain.
struct ChainViolations {
  int64_t zeros = 0;     // masked, and not 0
  int64_t clusters = 0;  // not the value of their index, or without one
};

// The thresholds of a large shared codebook by the cell of a grid they lie in (compression/codebook_search.h).
//
// Cell of w: (w - first) * scale, not below 0 (which a NaN becomes) nor above cells - 1, rounded towards zero. Its entry holds
// the number of thresholds in lower cells, and above it 32 bits that sort like its own threshold: all set if it has none, or
// more than one. In the last case the number is k, where ClusterBlock's pairs say that a search has to decide.
struct SearchGrid {
  int64_t cells = 0;  // 0: none
  float first = 0, scale = 0;
  const uint64_t* entries = nullptr;
};

// A codebook prepared for searching (compression/codebook.h). Row 0 only when shared, else one row per channel.
//
// For weights with |w| <= limit[row] the nearest centroid is sorted unique value number `count of thresholds <= w`;
// all others (huge, NaN, or a codebook denser than the rounding of the distance) take `exact`.
struct Codebook {
  int64_t k = 0;         // length of a row
  int64_t channels = 0;  // 0: shared by all channels
  // Shared: [padded]; per channel: [k - 1, channels]. Unused ones are +infinity.
  const float* thresholds = nullptr;
  int64_t padded = 0;               // length of the shared thresholds, k - 1 rounded up to a power of two minus 1
  const float* values = nullptr;    // [rows, k], sorted unique
  const int32_t* order = nullptr;   // [rows, k], lowest original index of each sorted unique value
  const int32_t* lowest = nullptr;  // [rows, 2k], tree of minima over `order`
  const int32_t* count = nullptr;   // [rows], number of unique values
  const float* limit = nullptr;     // [rows]
  int32_t (*exact)(const Codebook& codebook, int64_t row, float w) = nullptr;
  // Shared and 2 to 2^kTreeLevels entries, else levels = 0: the thresholds as a binary tree, level l at kLevelOffset[l].
  // A path holds at bit l whether w went up at level l; it says where the next threshold of a level lies, and in the end
  // where the index of the nearest centroid lies in tree_order.
  int64_t levels = 0;
  const float* tree = nullptr;
  const int32_t* tree_order = nullptr;
  SearchGrid grid;  // shared and more than kCountedThresholds
};

constexpr int kTreeLevels = 6;

// Up to here comparing with every threshold, or finding them in two registers, is faster than looking anything up.
constexpr int64_t kCountedThresholds = 31;

// A level has 2^l thresholds, and room for 16. The last offset is the length of the whole tree.
constexpr int64_t kLevelOffset[kTreeLevels + 1] = {0, 16, 32, 48, 64, 80, 112};

// A block of weights to cluster with one codebook for all of them.
struct ClusterBlock {
  const Codebook* book;
  const float* centroids;    // [k]
  const float* table;        // [k] and up to a power of two, at least 16: what each centroid becomes
  const float* tree_values;  // with book.levels > 0: `table` in the order of book.tree_order
  const uint64_t* pairs;     // else, with a grid: for each position its index and above it `table`'s bits, then two with index -1
  const float* weight;
  const uint8_t* mask;  // null: none
  int32_t* indices;
  uint8_t* small_indices;  // of at most 256 centroids, where `indices` is null
  float* used;             // table[indices[i]]
  bool stream;             // writes past the cache
  // Widened to the smallest and largest centroid that is used. Null: not wanted.
  float* low;
  float* high;
  ChainViolations* violations;  // as count_violations
};

// Nudged ranges of all channels, one array per field; kind tells the special ranges.
struct ChannelRanges {
  enum Kind : int32_t { normal = 0, zero = 1, nan = 2 };
  const float* min;
  const float* max;
  const float* scale;
  const float* inverse_scale;
  const float* zero_code;
  const int32_t* kind;
};

// Magnitudes by their bits without the sign, on their way to an order statistic.
struct MagnitudeSieve {
  int64_t above = 0;         // at the upper end and above
  int64_t equal = 0;         // at the lower end
  float* between = nullptr;  // the ones between; room for as many more as are sifted, and 16
  int64_t between_count = 0;
  int32_t largest = 0;
};

struct CompressionKernels {
  // out[i] = source[i]. out may be the source's x when there are no indices.
  void (*materialize)(int64_t rows, int64_t columns, const Source& source, float* out);
  // Largest |source[i]|, at least 0.
  float (*max_abs)(int64_t rows, int64_t columns, const Source& source);
  // out[c] = max(out[c], largest |source[.., c]|).
  void (*max_abs_channels)(int64_t rows, int64_t columns, const Source& source, float* out);
  // low[c] = min(low[c], source[.., c]), high[c] likewise; NaN is passed over. extremes: one pair for the block.
  void (*extremes)(int64_t rows, int64_t columns, const Source& source, float* low, float* high);
  void (*extremes_channels)(int64_t rows, int64_t columns, const Source& source, float* low, float* high);
  // indices[i] = nearest centroid of source[i] (plain or masked).
  void (*assign)(int64_t rows, int64_t columns, const Source& source, const Codebook& codebook, int32_t* indices);
  // Spec 3.5. `multiply`: by the inverse scale, as the per-channel operator does, instead of dividing by the scale.
  void (*fake_quantize)(int64_t rows, int64_t columns, const Source& source, const NudgedRange& range, bool multiply, float* out);
  void (*fake_quantize_channels)(int64_t rows, int64_t columns, const Source& source, const ChannelRanges& ranges, float* out);
  // dx[i] = dy[i] where source[i] is inside the range, else 0. dx may be dy.
  void (*fake_quantize_gradient)(int64_t rows, int64_t columns, const Source& source, const NudgedRange& range, const float* dy, float* dx);
  void (*fake_quantize_gradient_channels)(int64_t rows, int64_t columns, const Source& source, const ChannelRanges& ranges, const float* dy,
                                          float* dx);
  // Adds what breaks the promises of a chain: values at masked places that are not 0 (mask may be null), and values whose index is
  // outside [0, table.k) or that are not, bit for bit, the entry of the table that it says (table.indices may be null).
  void (*count_violations)(int64_t rows, int64_t columns, const float* used, const uint8_t* mask, const Source& table,
                           ChainViolations* violations);
  // All of it in one pass over the weights.
  void (*cluster)(int64_t count, const ClusterBlock& block);
  // Adds to the sieve.
  void (*sift_magnitudes)(int64_t count, const float* w, int32_t low, int32_t high, MagnitudeSieve* sieve);
  // mask[i] = 1 where the bits of |w[i]| are at least `least`, else 0.
  void (*mark_magnitudes)(int64_t count, const float* w, int32_t least, uint8_t* mask);
};

}  // namespace pcqat
