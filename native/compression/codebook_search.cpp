#include "compression/codebook_search.h"

#include <algorithm>

namespace pcqat {

namespace {

// Pairs behind those of the centroids: what a key above all thresholds of an undecided cell finds, and a NaN.
constexpr int64_t kUndecidedPairs = 2;

// The sorted position that a path ends at: its first bit decides between the halves.
int64_t position_of(int64_t path, int64_t levels) {
  int64_t position = 0;
  for (int64_t level = 0; level < levels; ++level) position = 2 * position + ((path >> level) & 1);
  return position;
}

// The same operations in the same order as the kernel's.
int64_t grid_cell(const SearchGrid& grid, float w) {
  const float place = (w - grid.first) * grid.scale;
  return static_cast<int64_t>(std::min(place > 0 ? place : 0.0f, static_cast<float>(grid.cells - 1)));
}

uint64_t grid_entry(uint32_t key, int64_t position) { return uint64_t{key} << 32 | static_cast<uint64_t>(position); }

// False if too many thresholds share a cell.
bool fill_grid(const SearchGrid& grid, const float* thresholds, int64_t count, int64_t k, uint64_t* entries) {
  constexpr uint32_t kNever = std::numeric_limits<uint32_t>::max();
  int64_t next = 0, undecided = 0;  // the next cell to fill
  for (int64_t position = 0, end; position < count; position = end) {
    const int64_t cell = grid_cell(grid, thresholds[position]);
    if (cell < next) return false;  // a NaN among the thresholds
    std::fill(entries + next, entries + cell, grid_entry(kNever, position));
    for (end = position + 1; end < count && grid_cell(grid, thresholds[end]) == cell;) ++end;
    const bool decides = end == position + 1;
    if (!decides) undecided += end - position;
    entries[cell] =
        decides ? grid_entry(static_cast<uint32_t>(to_key(thresholds[position])) ^ 0x80000000u, position) : grid_entry(kNever, k);
    next = cell + 1;
  }
  std::fill(entries + next, entries + grid.cells, grid_entry(kNever, count));
  return undecided <= count / 8;
}

}  // namespace

int64_t register_table_size(int64_t k) {
  int64_t size = 16;
  while (size < k) size *= 2;
  return size;
}

void build_search_tree(int64_t levels, const float* thresholds, const int32_t* order, int64_t count, float* tree, int32_t* tree_order) {
  for (int64_t level = 0; level < levels; ++level) {
    const int64_t width = int64_t{1} << (levels - level);  // positions below a node
    for (int64_t path = 0; path < int64_t{1} << level; ++path) {
      tree[kLevelOffset[level] + path] = thresholds[position_of(path, level) * width + width / 2 - 1];
    }
  }
  for (int64_t path = 0; path < int64_t{1} << levels; ++path) {
    const int64_t position = position_of(path, levels);
    tree_order[path] = position < count ? order[position] : 0;  // beyond +infinity: no number gets there
  }
}

int64_t grid_cells(int64_t k) {
  constexpr int64_t kMost = 1 << 16;  // a cell has 16 bits
  return k - 1 <= kCountedThresholds || k > kMost / 4 ? 0 : std::min(16 * register_table_size(k), kMost);
}

SearchGrid build_search_grid(const float* thresholds, int64_t count, int64_t cells, int64_t k, uint64_t* entries) {
  SearchGrid grid;
  grid.cells = cells;
  grid.entries = entries;
  // If all others crowd beside a few far ones, those have to share the outer cells.
  for (const int64_t cut : {int64_t{0}, count / 32 + 1}) {
    if (count <= 2 * cut) break;
    grid.first = thresholds[cut];
    grid.scale = static_cast<float>(cells - 1) / (thresholds[count - 1 - cut] - grid.first);
    if (fill_grid(grid, thresholds, count, k, entries)) return grid;
  }
  return {};
}

int64_t arranged_bytes(int64_t k) {
  return k <= int64_t{1} << kTreeLevels ? register_table_size(k) * static_cast<int64_t>(sizeof(float))
                                        : (k + kUndecidedPairs) * static_cast<int64_t>(sizeof(uint64_t));
}

void arrange_by_path(const Codebook& book, const float* table, float* out) {
  for (int64_t path = 0; path < int64_t{1} << book.levels; ++path) out[path] = table[book.tree_order[path]];
}

void arrange_pairs(const Codebook& book, const float* table, uint64_t* out) {
  const int64_t count = book.count[0];
  for (int64_t position = 0; position < count; ++position) {
    uint32_t value;
    std::memcpy(&value, table + book.order[position], sizeof value);
    out[position] = uint64_t{value} << 32 | static_cast<uint32_t>(book.order[position]);
  }
  std::fill(out + count, out + book.k + kUndecidedPairs, uint64_t{0xffffffff});  // index -1
}

}  // namespace pcqat
