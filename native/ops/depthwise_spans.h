// Depthwise convolution as spans: output pixels that see the same part of the kernel. Inside the image that is one large span; along its
// edges, spans of a pixel or two. The gradient of the input is the same computation with input and output swapped.
#pragma once

#include "carver.h"
#include "ops/chunks.h"
#include "ops/conv.h"
#include "ops/line_buffer.h"
#include "simd/f32_kernels.h"

namespace pcqat {

// One dimension of the convolution: forward writes output positions and reads input ones, backward the other way round.
struct Axis {
  int64_t kernel, stride, pad, dilation;
  int64_t source_size, target_size;
  bool backward;

  // Source position that kernel element `tap` connects to the target position, or -1.
  int64_t source(int64_t target, int64_t tap) const {
    const int64_t position = backward ? target + pad - tap * dilation : target * stride - pad + tap * dilation;
    if (position < 0 || (backward && position % stride != 0)) return -1;
    const int64_t found = backward ? position / stride : position;
    return found < source_size ? found : -1;
  }
  // The first tap that connects to a source, or `kernel`.
  int64_t first_tap(int64_t target) const {
    int64_t tap = 0;
    while (tap < kernel && source(target, tap) < 0) ++tap;
    return tap;
  }
  // Inside the image, positions that far apart see the same taps, source_step() further. Backward, neighbours see different ones when the
  // stride is not 1.
  int64_t step() const { return backward ? std::min(stride, target_size) : 1; }
  int64_t source_step() const { return backward ? 1 : stride; }
  // Whether both see the same taps, as far from the source of the first one.
  bool is_alike(int64_t a, int64_t b) const;
};

class DepthwiseSpans {
 public:
  // Plans its memory in the workspace; measures only when that has no memory.
  DepthwiseSpans(const ConvGeometry& g, bool backward, Carver& workspace);
  // Finds the spans. Needs the workspace's memory.
  void fill();

  // Source lines that the target lines read; none: first = end.
  Lines sources(Lines lines) const;
  // body(span, offset in x, offset in y) for each span of target lines of an image: where the span's offsets count from, and its first
  // target pixel.
  template <typename Body>
  void each(Lines lines, Body body) const {
    const int64_t step = rows_.step();
    for (int64_t start = lines.first; start < std::min(lines.first + step, lines.end); ++start) {
      for (int64_t row = start; row < lines.end;) {
        const int64_t first = row;
        while (row < lines.end && kinds_[row].spans == kinds_[first].spans) row += step;
        for (int64_t s = 0; s < count_; ++s) {
          DepthwiseSpan span = kinds_[first].spans[s];
          span.rows = (row - first) / step;
          body(span, kinds_[first].source, (first * columns_.target_size + groups_[s].first) * channels_);
        }
      }
    }
  }

 private:
  // Columns of a target row, a step apart, that are alike.
  struct Group {
    int64_t first, pixels;
  };
  // What a target row sees.
  struct Kind {
    const DepthwiseSpan* spans;  // shared by rows that are alike
    int64_t source;              // where its offsets count from
  };
  int64_t most_kinds() const;
  void find_groups();
  DepthwiseSpan make_span(int64_t row, const Group& columns, int64_t* offsets) const;

  Axis rows_, columns_;
  int64_t channels_;
  int64_t count_ = 0;  // groups
  Group* groups_;
  Kind* kinds_;  // per target row
  DepthwiseSpan* spans_;
  int64_t* offsets_;
};

}  // namespace pcqat
