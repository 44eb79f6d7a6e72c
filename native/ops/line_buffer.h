// Lines of images that a worker reads shortly after it computed or copied them, still in its cache. Channels lie in blocks, so that a
// window of one block is a small piece of memory, aligned as vectors are; around each image there are zeros, so that no window needs a case
// for the edges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "ops/gemm.h"
#include "simd/f32_kernels.h"

namespace pcqat {

// Lines [first, end) of an image; zeros where they lie outside of it.
struct Lines {
  int64_t first = 0, end = 0;
};

// A line: `blocks` of channels one after the other, each `before` zeros, `width` pixels and `after` zeros of `block` floats.
struct LineLayout {
  int64_t height, most_lines;  // of an image, and with the zeros above and below that are read
  int64_t width, channels;
  int64_t before, after;  // columns of zeros
  int64_t block, blocks;  // channels of a block; of the last one, some may be missing

  LineLayout(int64_t height, int64_t most_lines, int64_t width, int64_t channels, int64_t before, int64_t after, int64_t columns)
      : height(height), most_lines(most_lines), width(width), channels(channels), before(before), after(after),
        block(std::min(channels, columns)), blocks((channels + columns - 1) / columns) {}
  int64_t block_floats() const { return (before + width + after) * block; }
  int64_t floats() const { return blocks * block_floats(); }
  // At least floats(), whatever an instruction set's blocks are.
  int64_t most_floats() const { return packed_floats(before + width + after, channels); }
  int64_t channels_of(int64_t index) const { return std::min(block, channels - index * block); }
};

class LineBuffer {
 public:
  // At most `capacity` lines at once in `memory`. Its zeros are written by whoever uses it first, so that they are in its cache.
  LineBuffer(const LineLayout& layout, float* memory, int64_t capacity, bool& has_edges)
      : layout_(layout), memory_(memory), capacity_(capacity) {
    if (!has_edges) clear_edges();
    has_edges = true;
  }

  // Before at(): the lines that will be asked for. compute(line, count, to) is called for those of the image that are not there. Calls go
  // from the top of an image to its bottom.
  template <typename Compute>
  void need(int64_t image, Lines lines, Compute&& compute) {
    if (image != image_ || lines.first < held_.first || lines.first >= held_.end) held_ = {lines.first, lines.first};
    image_ = image;
    const int64_t size = layout_.floats();
    if (lines.end - held_.first > capacity_) {
      std::memmove(memory_, memory_ + (lines.first - held_.first) * size, sizeof(float) * (held_.end - lines.first) * size);
      held_.first = lines.first;
    }
    const auto fill_to = [&](int64_t end, bool inside) {
      if (end <= held_.end) return;
      float* const to = memory_ + (held_.end - held_.first) * size;
      const int64_t count = end - held_.end;
      if (inside)
        compute(held_.end, count,
                RowBlocks{to + layout_.before * layout_.block, layout_.block, layout_.block_floats(), layout_.width, size});
      else
        std::fill(to, to + count * size, 0.0f);
      held_.end = end;
    };
    fill_to(std::min<int64_t>(lines.end, 0), false);
    fill_to(std::min(lines.end, layout_.height), true);
    fill_to(lines.end, false);
  }
  // A block of a line, from its zeros on.
  const float* at(int64_t line, int64_t block) const {
    return memory_ + (line - held_.first) * layout_.floats() + block * layout_.block_floats();
  }

 private:
  void clear_edges() {
    const int64_t size = layout_.block_floats(), before = layout_.before * layout_.block, after = layout_.after * layout_.block;
    for (float* at = memory_; at < memory_ + capacity_ * layout_.floats(); at += size) {
      std::fill(at, at + before, 0.0f);
      std::fill(at + size - after, at + size, 0.0f);
    }
  }

  LineLayout layout_;
  float* memory_;
  int64_t capacity_, image_ = -1;
  Lines held_;
};

}  // namespace pcqat
