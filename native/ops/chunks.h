// How work is cut: by size only, never by the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace pcqat {

// Upper bound of every chunk count, so that partial results fit on the stack or in a planned workspace.
constexpr int64_t kMaxChunks = 64;

// Elements of an element-wise pass that make a chunk worth handing to a thread.
constexpr int64_t kChunkElements = 16384;

// Multiply-adds of a matrix product that make a chunk worth handing to a thread: some microseconds.
constexpr int64_t kChunkProducts = 500'000;
// As many of a small batch, which would be one chunk, are worth two.
constexpr int64_t kTwoChunksProducts = kChunkProducts / 3;

// `total` items in chunks of about equal size, each but the last a whole number of steps.
struct Chunks {
  int64_t total, count, step;
  int64_t begin(int64_t chunk) const { return std::min(total, chunk * steps() / count * step); }
  int64_t end(int64_t chunk) const { return begin(chunk + 1); }
  int64_t length(int64_t chunk) const { return end(chunk) - begin(chunk); }
  // The same of what each item consists of.
  Chunks of(int64_t parts) const { return {total * parts, count, step * parts}; }

 private:
  int64_t steps() const { return (total + step - 1) / step; }
};

// About `smallest` items a chunk or more (a multiple of `step` items), at most kMaxChunks chunks: equal parts, and where there are several
// an even number of them, so that threads are done at the same time. From `two` items on there are two chunks at least.
inline Chunks chunks_of(int64_t total, int64_t smallest, int64_t step = 1, int64_t two = std::numeric_limits<int64_t>::max()) {
  const auto parts = [](int64_t whole, int64_t part) { return (whole + part - 1) / part; };
  const int64_t size = std::max({smallest, parts(total, kMaxChunks), int64_t{1}});
  const int64_t count = std::max(parts(total, parts(size, step) * step), int64_t{total >= two ? 2 : 0});
  return {total, count <= 1 ? count : std::min(count + count % 2, parts(total, step)), step};
}

}  // namespace pcqat
