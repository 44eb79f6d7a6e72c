// Geometry of a sliding window over an NHWC tensor with batch 1: convolutions and pools.
#pragma once

#include "integer/operation.h"

namespace pcqat::integer {

struct Window {
  int64_t in_h, in_w, in_c, out_h, out_w, out_c;
  int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  int64_t pad_top, pad_left;

  int64_t taps() const { return kernel_h * kernel_w; }
  // Input row or column under a tap of an output position; may lie outside the input.
  int64_t row(int64_t out_y, int64_t tap) const { return out_y * stride_h - pad_top + tap * dilation_h; }
  int64_t column(int64_t out_x, int64_t tap) const { return out_x * stride_w - pad_left + tap * dilation_w; }
};

// From the shapes, strides, dilations and padding of an operator; checks that the output's shape follows from them.
Window read_window(const OperatorView& op, int64_t kernel_h, int64_t kernel_w);

// Largest window and stride that is taken.
constexpr int64_t kMaxWindowOption = 1 << 20;

// Output size and padding before the first position along one axis, as TFLite computes them.
struct Extent {
  int64_t size, before;
};
Extent window_extent(const OperatorView& op, bool same, int64_t in, int64_t kernel, int64_t stride, int64_t dilation);

// The option `padding`: SAME or VALID.
std::string read_padding(const OperatorView& op);

// Requires that input 1 is constant weights of rank 4, of the type of `input`, with per-tensor scales or one scale per channel
// along `axis`.
const Tensor& read_kernel(const OperatorView& op, int64_t axis, const Tensor& input);

}  // namespace pcqat::integer
