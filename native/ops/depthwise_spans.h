// Depthwise convolution as spans: target pixels that use the same taps of the kernel. Since lines of the source have zeros around the
// image, these are all pixels, or backward, where neighbours see different taps, as many kinds of pixels as the strides multiplied. The
// gradient of the input is the same computation with input and output swapped.
#pragma once

#include "carver.h"
#include "ops/conv.h"
#include "ops/line_buffer.h"
#include "simd/f32_kernels.h"

namespace pcqat {

// One dimension of the convolution: forward writes output positions and reads input ones, backward the other way round.
struct Axis {
  int64_t kernel, stride, pad, dilation;
  int64_t source_size, target_size;
  bool backward;

  // Whether kernel element `tap` connects the target position to a source position.
  bool connects(int64_t target, int64_t tap) const { return reaches(tap) && (!backward || (target + pad - tap * dilation) % stride == 0); }
  // Which one; it may lie outside of the image.
  int64_t source(int64_t target, int64_t tap) const {
    return backward ? (target + pad - tap * dilation) / stride : target * stride - pad + tap * dilation;
  }
  // All that target positions [lines.first, lines.end) read; none: first = end.
  Lines sources(Lines lines) const;
  // Positions outside of the image that any target reads: before it and behind it. Taps that never see the image are left out, so that
  // these are no more than its size, however far apart taps lie.
  int64_t before() const { return std::max<int64_t>(-sources({0, step()}).first, 0); }
  int64_t after() const { return std::max<int64_t>(sources({target_size - step(), target_size}).end - source_size, 0); }
  // Target positions so far apart use the same taps, source_step() further.
  int64_t step() const { return backward ? std::min(stride, target_size) : 1; }
  int64_t source_step() const { return backward ? 1 : stride; }

 private:
  // Whether a tap sees the image from any target position.
  bool reaches(int64_t tap) const {
    const int64_t size = backward ? source_size * stride : source_size;
    const int64_t first = backward ? pad - tap * dilation : source(0, tap);
    const int64_t last = backward ? first + target_size - 1 : source(target_size - 1, tap);
    return last >= 0 && first < size;
  }
};

// Where a span belongs.
struct DepthwisePlace {
  int64_t block, channel;  // of channels, and the first of them
  int64_t line;            // source line that the span's offsets count from; it may not be read itself
  int64_t pixel;           // its first target pixel
  int64_t part, parts;     // how many spans came before, and how many there are
};

class DepthwiseSpans {
 public:
  // Plans its memory in the workspace; measures only when that has no memory. columns: channels of a block.
  DepthwiseSpans(const ConvGeometry& g, bool backward, int64_t columns, Carver& workspace);
  // Finds the spans. Needs the workspace's memory.
  void fill();

  const LineLayout& layout() const { return layout_; }  // of the source's lines
  // Source lines that the target lines read.
  Lines sources(Lines lines) const { return rows_.sources(lines); }
  // body(span, place) for each span of each block of channels of the target lines of an image.
  template <typename Body>
  void each(Lines lines, Body body) const {
    const int64_t step = rows_.step(), kinds = columns_.step(), starts = std::min(step, lines.end - lines.first);
    DepthwisePlace place{};
    place.parts = layout_.blocks * starts * kinds;
    for (place.block = 0; place.block < layout_.blocks; ++place.block) {
      place.channel = place.block * layout_.block;
      for (int64_t start = lines.first; start < lines.first + starts; ++start) {
        place.line = start / step * rows_.source_step();
        for (int64_t column = 0; column < kinds; ++column, ++place.part) {
          DepthwiseSpan span = spans_[start % step * kinds + column];
          span.channels = layout_.channels_of(place.block);
          span.rows = (lines.end - start + step - 1) / step;
          place.pixel = start * columns_.target_size + column;
          body(span, place);
        }
      }
    }
  }

 private:
  DepthwiseSpan make_span(int64_t row, int64_t column, int64_t* offsets) const;

  Axis rows_, columns_;
  LineLayout layout_;
  DepthwiseSpan* spans_;  // by place in a step of rows and of columns
  int64_t* offsets_;
};

}  // namespace pcqat
