// Depthwise convolution as spans: neighbouring pixels of an output row that see the same part of the kernel. Inside the
// image that is one long span; at its edges, spans of a pixel or two. The gradient of the input is the same computation
// with input and output swapped.
#pragma once

#include "ops/chunks.h"
#include "ops/conv.h"
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

// Columns of a target row, `step` apart, that have the same kernel columns.
struct ColumnSpan {
  int32_t first, pixels;
  int32_t taps_begin, taps_end;  // in DepthwiseColumns::taps
};

class DepthwiseColumns {
 public:
  // Plans its memory in the workspace; measures only when that has no memory. x_channels is g.out_c.
  DepthwiseColumns(const ConvGeometry& g, bool backward, int workers, Workspace& workspace);
  // Finds the spans.
  void fill();

  // body(span, first target pixel) for each span of target row `row`; offsets count from the image's start.
  template <typename Body>
  void each_span(int64_t row, int worker, Body body) const {
    int64_t* x_offset = offsets_ + worker * 2 * taps_limit_;
    int64_t* w_offset = x_offset + taps_limit_;
    for (int64_t s = 0; s < count_; ++s) {
      const ColumnSpan& columns = spans_[s];
      int64_t taps = 0;
      for (int64_t kh = 0; kh < rows_axis_.kernel; ++kh) {
        const int64_t source_row = rows_axis_.source(row, kh);
        if (source_row < 0) continue;
        for (int32_t t = columns.taps_begin; t < columns.taps_end; ++t, ++taps) {
          const int64_t kw = taps_[t];
          x_offset[taps] = (source_row * columns_axis_.source_size + columns_axis_.source(columns.first, kw)) * channels_;
          w_offset[taps] = (kh * columns_axis_.kernel + kw) * channels_;
        }
      }
      body(DepthwiseSpan{channels_, columns.pixels, taps, x_offset, w_offset, source_step_ * channels_, step_ * channels_},
           row * columns_axis_.target_size + columns.first);
    }
  }

 private:
  Axis rows_axis_, columns_axis_;
  int64_t channels_, taps_limit_;
  int64_t step_, source_step_;  // between the pixels of a span
  int64_t count_ = 0;
  ColumnSpan* spans_;
  int32_t* taps_;
  int64_t* offsets_;  // per worker: of x, of the kernel
};

}  // namespace pcqat
