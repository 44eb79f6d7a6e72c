// Depthwise convolution as spans: neighbouring pixels of an output row that see the same part of the kernel. Inside the
// image that is one long span; at its edges, spans of a pixel or two. The gradient of the input is the same computation
// with input and output swapped.
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
};

// Columns of a target row, a fixed step apart, that have the same kernel columns.
struct ColumnSpan {
  int32_t first, pixels;
  int32_t taps_begin, taps_end;  // in DepthwiseSpans::taps_
};

class DepthwiseSpans {
 public:
  // Plans its memory in the workspace; measures only when that has no memory.
  DepthwiseSpans(const ConvGeometry& g, bool backward, int workers, Carver& workspace);
  // Finds the spans. Needs the workspace's memory.
  void fill();

  // Source lines that the target rows [rows.first, rows.end) read; none: first = end.
  Lines sources(Lines rows) const;
  // body(span, offset in x, offset in y) for each span of target row `row` of an image: where the span's offsets count
  // from, and its first target pixel.
  template <typename Body>
  void each(int64_t row, int worker, Body body) const {
    int64_t first = 0, last = -1;  // kernel rows that touch the target row
    for (int64_t kh = 0; kh < rows_.kernel; ++kh) {
      if (rows_.source(row, kh) < 0) continue;
      if (last < 0) first = kh;
      last = kh;
    }
    const Offsets& offsets = offsets_of(row, first, last, worker);
    const int64_t source = last < 0 ? 0 : rows_.source(row, first) * columns_.source_size * channels_;
    for (int64_t s = 0; s < count_; ++s) body(offsets.spans[s], source, (row * columns_.target_size + spans_[s].first) * channels_);
  }

 private:
  // The spans of a row, counted from its first source row: the same for all rows that see the same kernel rows. Backward,
  // those alternate with the stride, so there is one of these per worker and step.
  struct Offsets {
    int64_t first, last;
    DepthwiseSpan* spans;
    int64_t* values;
  };
  const Offsets& offsets_of(int64_t row, int64_t first, int64_t last, int worker) const;

  Axis rows_, columns_;
  int64_t channels_;
  int64_t step_, source_step_;  // between the pixels of a span
  int64_t row_step_;            // between rows that see the same kernel rows
  int64_t count_ = 0;
  int workers_;
  int64_t values_per_set_;
  ColumnSpan* spans_;
  int32_t* taps_;
  Offsets* offsets_;  // per worker and row_step_
  DepthwiseSpan* set_spans_;
  int64_t* set_values_;
};

}  // namespace pcqat
