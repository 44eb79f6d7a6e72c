#include "integer/window.h"

#include <algorithm>

namespace pcqat::integer {

Extent window_extent(const OperatorView& op, bool same, int64_t in, int64_t kernel, int64_t stride, int64_t dilation) {
  const int64_t effective = (kernel - 1) * dilation + 1;
  if (same) {
    const int64_t size = (in + stride - 1) / stride;
    return {size, std::max<int64_t>((size - 1) * stride + effective - in, 0) / 2};
  }
  op.require(in >= effective, "the window is larger than the input");
  return {(in - effective) / stride + 1, 0};
}

std::string read_padding(const OperatorView& op) {
  const std::string padding = op.text("padding", "SAME");
  op.require(padding == "SAME" || padding == "VALID", "padding must be SAME or VALID");
  return padding;
}

Window read_window(const OperatorView& op, int64_t kernel_h, int64_t kernel_w) {
  const Tensor &input = op.input(0), &output = op.output();
  op.require(input.shape.size() == 4 && output.shape.size() == 4, "input and output must have rank 4");
  if (input.shape[0] != 1) op.unsupported("a batch dimension other than 1");
  op.require(kernel_h <= kMaxWindowOption && kernel_w <= kMaxWindowOption, "the window is too large");
  Window w{};
  w.in_h = input.shape[1], w.in_w = input.shape[2], w.in_c = input.shape[3];
  w.out_h = output.shape[1], w.out_w = output.shape[2], w.out_c = output.shape[3];
  w.kernel_h = kernel_h, w.kernel_w = kernel_w;
  w.stride_h = op.integer("strideH", 1, 1, kMaxWindowOption), w.stride_w = op.integer("strideW", 1, 1, kMaxWindowOption);
  w.dilation_h = op.integer("dilationHFactor", 1, 1, kMaxWindowOption),
  w.dilation_w = op.integer("dilationWFactor", 1, 1, kMaxWindowOption);
  const bool same = read_padding(op) == "SAME";
  const Extent h = window_extent(op, same, w.in_h, kernel_h, w.stride_h, w.dilation_h);
  const Extent x = window_extent(op, same, w.in_w, kernel_w, w.stride_w, w.dilation_w);
  op.require(output.shape[0] == 1 && w.out_h == h.size && w.out_w == x.size,
             "the output's height and width do not follow from the input's");
  w.pad_top = h.before, w.pad_left = x.before;
  return w;
}

const Tensor& read_kernel(const OperatorView& op, int64_t axis, const Tensor& input) {
  const Tensor& weights = op.constant(1, input.dtype);
  op.require(weights.shape.size() == 4, "the weights must have rank 4");
  op.require(weights.scale.size() <= 1 || weights.axis == axis, "the weights have scales along the wrong axis");
  if (input.dtype == DType::int8 && op.weight_zero_point(weights) != 0) op.unsupported("a zero point of int8 weights other than 0");
  return weights;
}

}  // namespace pcqat::integer
