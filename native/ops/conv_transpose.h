// Transposed convolution: the geometry is that of the convolution whose gradient it is, from the large image (in_h, in_w, and
// in_c = the output channels here) to the small one (out_h, out_w, out_c = the input channels here). Kernel [kh, kw, out, in].
#pragma once

#include "ops/conv.h"

namespace pcqat {

size_t conv_transpose_workspace(const ConvGeometry& g, int64_t max_rows, int threads);
// x is small, y large. bias may be null.
void conv_transpose_forward(const ConvGeometry& g, int64_t rows, const float* x, const float* kernel, const float* bias,
                            Activation activation, float* y, const Context& context);
void conv_transpose_backward_input(const ConvGeometry& g, int64_t rows, const float* dy, const float* kernel, float* dx,
                                   const Context& context);
// d_bias may be null.
void conv_transpose_backward_kernel(const ConvGeometry& g, int64_t rows, const float* x, const float* dy, float* d_kernel, float* d_bias,
                                    const Context& context);

}  // namespace pcqat
