#include "compression/codebook.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>

#include "carver.h"
#include "compression/codebook_search.h"
#include "compression/nearest.h"

namespace pcqat {

namespace {

struct Entry {
  int32_t key;  // the float as an integer that sorts like it; -0 and +0 are the same
  int32_t index;
};

float from_key(int64_t key) {
  const int32_t bits = static_cast<int32_t>(key >= 0 ? key : std::numeric_limits<int32_t>::min() - key);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct Arrays {
  float* thresholds;
  float* values;
  int32_t* order;
  int32_t* lowest;
  int32_t* count;
  float* limit;
  Entry* entries;
  int64_t padded;
  int64_t levels;
  float* tree;
  int32_t* tree_order;
  int64_t cells;
  uint64_t* grid;
};

Arrays carve(Carver& carver, int64_t k, int64_t channels) {
  const int64_t rows = std::max<int64_t>(channels, 1);
  Arrays a;
  a.padded = 0;
  while (a.padded < k - 1) a.padded = 2 * a.padded + 1;
  a.thresholds = carver.take<float>(channels == 0 ? a.padded : (k - 1) * channels);
  a.values = carver.take<float>(rows * k);
  a.order = carver.take<int32_t>(rows * k);
  a.lowest = carver.take<int32_t>(rows * 2 * k);
  a.count = carver.take<int32_t>(rows);
  a.limit = carver.take<float>(rows);
  a.entries = carver.take<Entry>(k);
  a.levels = 0;
  while (channels == 0 && int64_t{1} << a.levels < k) ++a.levels;
  if (a.levels > kTreeLevels) a.levels = 0;
  a.tree = carver.take<float>(kLevelOffset[a.levels]);
  a.tree_order = carver.take<int32_t>(a.levels == 0 ? 0 : register_table_size(k));
  a.cells = channels == 0 ? grid_cells(k) : 0;
  a.grid = carver.take<uint64_t>(a.cells);
  return a;
}

// Smallest w that is nearer to b than to a, a < b neighbours; `upper_wins_ties`: b has the lower index.
float find_threshold(float a, float b, bool upper_wins_ties) {
  const auto goes_up = [&](int64_t key) {
    const float w = from_key(key), to_a = std::fabs(w - a), to_b = std::fabs(w - b);
    return to_b < to_a || (to_b == to_a && upper_wins_ties);
  };
  // Invariant: low goes down, high goes up. a itself may only go up if the difference overflows, b only down likewise.
  int64_t low = to_key(a), high = to_key(b);
  if (goes_up(low)) return a;
  // The flip is within a few ulps of the midpoint unless the midpoint is near zero.
  const int64_t middle = std::clamp<int64_t>(to_key(0.5f * a + 0.5f * b), low, high);
  for (int64_t step = 1;; step *= 4) {
    const int64_t probe = middle + (goes_up(middle) ? -step : step);
    if (probe <= low || probe >= high) break;
    if (goes_up(probe) != goes_up(middle)) {
      low = std::max(low, std::min(probe, middle));
      high = std::min(high, std::max(probe, middle));
      break;
    }
  }
  while (high - low > 1) {
    const int64_t probe = low + (high - low) / 2;
    (goes_up(probe) ? high : low) = probe;
  }
  return from_key(high);
}

// Up to which |w| the thresholds decide correctly: distances must stay finite, and an ulp of the largest distance must
// stay below the smallest spacing (with a factor 2 in hand).
float safe_limit(const float* values, int64_t count) {
  const float largest = std::max(std::fabs(values[0]), std::fabs(values[count - 1]));
  float spacing = std::numeric_limits<float>::infinity();
  for (int64_t i = 1; i < count; ++i) spacing = std::min(spacing, values[i] - values[i - 1]);
  return std::min(FLT_MAX - largest, spacing * 0x1p22f - largest);
}

// Minima of order[0..count) as a bottom-up tree: leaves at [count, 2 count).
void build_tree(const int32_t* order, int64_t count, int32_t* tree) {
  std::copy(order, order + count, tree + count);
  for (int64_t i = count - 1; i > 0; --i) tree[i] = std::min(tree[2 * i], tree[2 * i + 1]);
}

}  // namespace

size_t codebook_bytes(int64_t k, int64_t channels) {
  Carver carver(nullptr);
  carve(carver, k, channels);
  return carver.used();
}

int32_t nearest_exact(const Codebook& codebook, int64_t row, float w) { return nearest_in_codebook(codebook, row, w); }

Codebook prepare_codebook(const float* centroids, int64_t k, int64_t channels, void* memory) {
  Carver carver(memory);
  const Arrays a = carve(carver, k, channels);
  const int64_t rows = std::max<int64_t>(channels, 1);
  const int64_t threshold_count = channels == 0 ? a.padded : (k - 1) * channels;
  std::fill(a.thresholds, a.thresholds + threshold_count, std::numeric_limits<float>::infinity());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < k; ++i) a.entries[i] = {to_key(centroids[row * k + i]), static_cast<int32_t>(i)};
    std::sort(a.entries, a.entries + k, [](const Entry& x, const Entry& y) { return x.key != y.key ? x.key < y.key : x.index < y.index; });
    float* values = a.values + row * k;
    int32_t* order = a.order + row * k;
    int64_t count = 0;
    for (int64_t i = 0; i < k; ++i) {
      if (i > 0 && a.entries[i].key == a.entries[i - 1].key) continue;
      values[count] = from_key(a.entries[i].key);
      order[count++] = a.entries[i].index;
    }
    for (int64_t i = 1; i < count; ++i) {
      const float threshold = find_threshold(values[i - 1], values[i], order[i] < order[i - 1]);
      a.thresholds[channels == 0 ? i - 1 : (i - 1) * channels + row] = threshold;
    }
    build_tree(order, count, a.lowest + row * 2 * k);
    a.count[row] = static_cast<int32_t>(count);
    a.limit[row] = safe_limit(values, count);
  }
  if (a.levels > 0) build_search_tree(a.levels, a.thresholds, a.order, a.count[0], a.tree, a.tree_order);
  Codebook book;
  if (a.cells > 0) book.grid = build_search_grid(a.thresholds, a.count[0] - 1, a.cells, k, a.grid);
  book.levels = a.levels;
  book.tree = a.tree;
  book.tree_order = a.tree_order;
  book.k = k;
  book.channels = channels;
  book.thresholds = a.thresholds;
  book.padded = a.padded;
  book.values = a.values;
  book.order = a.order;
  book.lowest = a.lowest;
  book.count = a.count;
  book.limit = a.limit;
  book.exact = nearest_exact;
  return book;
}

}  // namespace pcqat
