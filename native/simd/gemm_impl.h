// The matrix product of one thread: panels of b that stay in the cache, and memory fetched while tiles multiply.
#pragma once

#include "simd/gemm_tile.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

// Most k steps between passes over c: a panel of b (kDepth x kColumns) stays in the first-level cache.
constexpr int64_t kDepth = 320;
// A b of so many floats stays in the second-level cache, so that every row of a is read once.
constexpr int64_t kCachedFloats = 32768;

// Copies `depth` rows of a column panel side by side, aligned and zero-filled to the full width.
void pack_panel(int64_t depth, int64_t columns, const float* b, int64_t b_k, float* packed) {
  for (int64_t l = 0; l < depth; ++l, b += b_k, packed += kColumns) {
    if (columns == kColumns) {
      PCQAT_UNROLL for (int v = 0; v < kVectors; ++v) store(packed + v * kLanes, load(b + v * kLanes));
    } else {
      PCQAT_UNROLL for (int v = 0; v < kVectors; ++v) {
        const int64_t rest = columns - v * kLanes;
        store(packed + v * kLanes, rest >= kLanes ? load(b + v * kLanes) : rest > 0 ? load_n(b + v * kLanes, rest) : Vec{});
      }
    }
  }
}

// Steps between a fetch and its use: memory answers after some hundred nanoseconds, a step takes two or three.
constexpr int64_t kStepsAhead = 1024;

// What the following product reads, a share of it for every tile: blocks are mostly multiplied one after the other, so it is the rows that
// follow those of a and c or, where a is a transpose, those of a and b. The processor alone would fetch them when they are used.
class Following {
 public:
  // `ahead`: rows between those of a tile and those fetched meanwhile.
  Following(const GemmBlock& g, int64_t tile_rows, int64_t ahead) {
    const int64_t steps = (g.m + tile_rows - 1) / tile_rows * ((g.n + kColumns - 1) / kColumns) * g.k;
    if (steps == 0) return;
    if (g.a_k == 1) {
      if (g.a_row == g.k) streams_.first = stream(g.a, ahead * g.k, g.m * g.k, steps);
      if (g.c_row == g.n) streams_.second = stream(g.c, ahead * g.n, g.m * g.n, steps);
    } else {
      if (g.a_k == g.m) streams_.first = stream(g.a, g.k * g.m, g.k * g.m, steps);
      if (g.b_k == g.n) streams_.second = stream(g.b, g.k * g.n, g.k * g.n, steps);
    }
    if (g.instead_of_a.data != nullptr) streams_.first = stream(g.instead_of_a.data, 0, g.instead_of_a.floats, steps);
    if (g.instead_of_b.data != nullptr) streams_.second = stream(g.instead_of_b.data, 0, g.instead_of_b.floats, steps);
  }
  Streams share(int64_t steps) {
    const Streams now = streams_;
    streams_.first.at += steps * now.first.step;
    streams_.second.at += steps * now.second.step;
    return now;
  }

 private:
  static Stream stream(const float* from, int64_t ahead, int64_t floats, int64_t steps) {
    return {reinterpret_cast<uintptr_t>(from) + ahead * sizeof(float), floats * static_cast<int64_t>(sizeof(float)) / steps};
  }
  Streams streams_;
};

// Fetches rows of the panel that is packed next into the second-level cache. They lie on many pages: no processor follows them by itself.
inline void fetch_panel_rows(const float* row, int64_t rows, int64_t stride) {
  constexpr int64_t kLineFloats = 16;
  for (int64_t l = 0; l < rows; ++l, row += stride) {
    for (int64_t column = 0; column < kColumns; column += kLineFloats) __builtin_prefetch(row + column, 0, 2);
  }
}

template <typename Product>
void gemm(const GemmBlock& block) {
  if (block.m == 0) return;
  alignas(64) float panel[kDepth * kColumns];
  GemmBlock g = block;
  // Rows of b in place that cross cache lines, or lie so far apart that they compete for the same ones, are worth a copy
  // when several tiles use it.
  const bool pack = !block.b_padded && block.m > 3 * kRows && (block.b_k % kLanes != 0 || block.b_k >= 256);
  if (pack) {
    g.b_padded = true;
    g.b_k = kColumns;
  }
  const int64_t passes = g.k > kDepth ? (g.k + kDepth - 1) / kDepth : 1, pass_depth = (g.k + passes - 1) / passes;
  const bool by_rows = !pack && pass_depth * g.n <= kCachedFloats;
  // Where a row of tiles is done at once, what follows are the next ones.
  const int64_t row_steps = (g.n + kColumns - 1) / kColumns * g.k;
  // A step of the tile fetches a line: enough of them for the rows of c that follow.
  const int64_t tile_rows = g.n <= kLanes && kNarrowRows * g.n <= g.k * kLanes ? kNarrowRows : kRows;
  const int64_t near = row_steps == 0 ? 0 : (kStepsAhead + row_steps - 1) / row_steps * tile_rows;
  Following following(block, tile_rows, by_rows && passes == 1 ? near : g.m);
  for (int64_t pass = 0, done = 0; pass < passes; ++pass, done += pass_depth) {
    const int64_t depth = g.k - done < pass_depth ? g.k - done : pass_depth;
    const bool last = done + depth >= g.k, accumulate = g.accumulate || done > 0;
    const auto columns_at = [&](int64_t j) { return g.n - j < kColumns ? g.n - j : kColumns; };
    const auto panel_at = [&](int64_t j) { return block.b + j / kColumns * block.b_panel + done * block.b_k; };
    const auto multiply = [&](int64_t i, int64_t j, const float* b, const Streams& streams) {
      const int64_t rows = g.m - i < tile_rows ? g.m - i : tile_rows, columns = columns_at(j);
      const Tile tile = tile_of<Product>(rows, columns);
      tile(g, depth, g.a + i * g.a_row + done * g.a_k, b, j, columns, accumulate, last, g.c + i * g.c_row + j, streams);
    };
    if (by_rows) {
      for (int64_t i = 0; i < g.m; i += tile_rows) {
        for (int64_t j = 0; j < g.n; j += kColumns) multiply(i, j, panel_at(j), following.share(depth));
      }
      continue;
    }
    for (int64_t j = 0; j < g.n; j += kColumns) {
      if (pack) pack_panel(depth, columns_at(j), panel_at(j), block.b_k, panel);
      const float* next = j + kColumns < g.n ? panel_at(j + kColumns) : block.b + (done + depth) * block.b_k;
      const int64_t share = (depth * tile_rows + g.m - 1) / g.m;  // a few rows for each tile: more at once would wait for memory
      for (int64_t i = 0, l = 0; i < g.m; i += tile_rows, l += share) {
        if (pack && l < depth) fetch_panel_rows(next + l * block.b_k, depth - l < share ? depth - l : share, block.b_k);
        multiply(i, j, pack ? panel : panel_at(j), following.share(depth));
      }
    }
  }
  if (g.stream) finish_streaming();
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
