// How work is cut: by size only, never by the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

namespace pcqat {

// Upper bound of every chunk count, so that partial results fit on the stack or in a planned workspace.
constexpr int64_t kMaxChunks = 64;

// Elements of an element-wise pass that make a chunk worth handing to a thread.
constexpr int64_t kChunkElements = 16384;

// Multiply-adds of a matrix product that make a chunk worth handing to a thread: some microseconds.
constexpr int64_t kChunkProducts = 500'000;

struct Chunks {
  int64_t total, size, count;
  int64_t begin(int64_t chunk) const { return chunk * size; }
  int64_t end(int64_t chunk) const { return std::min(total, (chunk + 1) * size); }
  int64_t length(int64_t chunk) const { return end(chunk) - begin(chunk); }
};

// About `smallest` items a chunk or more (a multiple of `step` items), at most kMaxChunks chunks: equal parts, and where there are several
// an even number of them, so that threads are done at the same time.
inline Chunks chunks_of(int64_t total, int64_t smallest, int64_t step = 1) {
  const auto parts = [](int64_t whole, int64_t part) { return (whole + part - 1) / part; };
  const auto rounded = [&](int64_t size) { return parts(size, step) * step; };
  const int64_t least = rounded(std::max({smallest, parts(total, kMaxChunks), int64_t{1}})), count = parts(total, least);
  const int64_t size = count <= 1 ? least : rounded(parts(total, count + count % 2));
  return {total, size, parts(total, size)};
}

}  // namespace pcqat
