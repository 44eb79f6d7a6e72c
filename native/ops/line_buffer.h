// The lines of images that a worker reads, in memory, or computed shortly before and still in the cache.
#pragma once

#include <cstdint>
#include <cstring>

namespace pcqat {

// Lines [first, end) of an image.
struct Lines {
  int64_t first = 0, end = 0;
};

class LineBuffer {
 public:
  // Images of `height` lines of `line` floats: `images`, or if that is null, at most `capacity` lines at once in `memory`.
  LineBuffer(int64_t height, int64_t line, const float* images, float* memory, int64_t capacity)
      : height_(height), line_(line), images_(images), memory_(memory), capacity_(capacity) {}

  // Before at(): the lines that will be asked for. compute(first, count, to) is called for those that are not there. Calls go from the top
  // of an image to its bottom.
  template <typename Compute>
  void need(int64_t image, Lines lines, Compute&& compute) {
    if (images_ != nullptr) return;
    if (image != image_ || lines.first < held_.first || lines.first >= held_.end) held_ = {lines.first, lines.first};
    image_ = image;
    if (lines.end <= held_.end) return;
    if (lines.end - held_.first > capacity_) {
      std::memmove(memory_, memory_ + (lines.first - held_.first) * line_, sizeof(float) * (held_.end - lines.first) * line_);
      held_.first = lines.first;
    }
    compute(held_.end, lines.end - held_.end, memory_ + (held_.end - held_.first) * line_);
    held_.end = lines.end;
  }
  // What lies `offset` floats from the start of the image.
  const float* at(int64_t image, int64_t offset) const {
    return images_ != nullptr ? images_ + image * height_ * line_ + offset : memory_ + (offset - held_.first * line_);
  }

 private:
  int64_t height_, line_;
  const float* images_;
  float* memory_;
  int64_t capacity_, image_ = -1;
  Lines held_;
};

}  // namespace pcqat
