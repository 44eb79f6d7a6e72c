// 2-D convolution and depthwise convolution. NHWC, HWIO.
#pragma once

#include "ops/common.h"

namespace pcqat {

struct ConvGeometry {
  int64_t in_h, in_w, in_c;
  int64_t out_h, out_w, out_c;  // depthwise: out_c = in_c * multiplier
  int64_t kernel_h, kernel_w;
  int64_t stride_h, stride_w;
  int64_t pad_top, pad_left;  // bottom and right follow from the output size
  int64_t dilation_h, dilation_w;
};

// bias may be null. The activation is applied to the output.
size_t conv2d_workspace(const ConvGeometry& g, int64_t max_rows, int threads);  // enough for forward and both backwards
void conv2d_forward(const ConvGeometry& g, int64_t rows, const float* x, const float* kernel, const float* bias, Activation activation,
                    float* y, const Context& context);
void conv2d_backward_input(const ConvGeometry& g, int64_t rows, const float* dy, const float* kernel, float* dx, const Context& context);
// d_bias may be null.
void conv2d_backward_kernel(const ConvGeometry& g, int64_t rows, const float* x, const float* dy, float* d_kernel, float* d_bias,
                            const Context& context);

// Kernel [kh, kw, in, multiplier]; output channel = in * multiplier + m.
size_t depthwise_workspace(const ConvGeometry& g, int64_t max_rows, int threads);
void depthwise_forward(const ConvGeometry& g, int64_t rows, const float* x, const float* kernel, const float* bias, Activation activation,
                       float* y, const Context& context);
void depthwise_backward_input(const ConvGeometry& g, int64_t rows, const float* dy, const float* kernel, float* dx, const Context& context);
void depthwise_backward_kernel(const ConvGeometry& g, int64_t rows, const float* x, const float* dy, float* d_kernel, float* d_bias,
                               const Context& context);

}  // namespace pcqat
