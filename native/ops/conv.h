// 2-D convolution and depthwise convolution. NHWC, HWIO.
#pragma once

#include "ops/common.h"
#include "ops/norm.h"

namespace pcqat {

struct ConvGeometry {
  int64_t in_h, in_w, in_c;
  int64_t out_h, out_w, out_c;  // depthwise: out_c = in_c * multiplier
  int64_t kernel_h, kernel_w;
  int64_t stride_h, stride_w;
  int64_t pad_top, pad_left;  // bottom and right follow from the output size
  int64_t dilation_h, dilation_w;
};

// The operands of a convolution whose input and kernel are both fake-quantized: x = scale (q - zero), w = scale[c] q, so that
// the products can be taken exactly in int8.
struct CodeOperands {
  NudgedRange x;
  const float* weight_min = nullptr;  // one, or one per output channel; symmetric ranges of at most 8 bits
  const float* weight_max = nullptr;
  bool per_channel = false;
  int weight_bits = 8;
  bool weight_narrow_range = true;
  // Where the kernel is a table of few values, those (kTableCodes of them) and its indices: a quarter of the bytes to read. Null: not
  // known.
  const float* table = nullptr;
  const uint8_t* indices = nullptr;
};

// bias may be null. The activation is applied to the output.
size_t conv2d_workspace(const ConvGeometry& g, int threads);
// With `statistics` its sums of y are taken too, and its chunks are set.
void conv2d_forward(const ConvGeometry& g, int64_t rows, const LayerInput& x, const float* kernel, const float* bias, Activation activation,
                    float* y, OutputStatistics* statistics, const Context& context);
// The same with integer products; needs kernels.code_product. Sums are exact where f32 would round each of them.
bool fits_codes(const ConvGeometry& g);
void conv2d_forward_codes(const ConvGeometry& g, int64_t rows, const CodeOperands& operands, const LayerInput& x, const float* kernel,
                          const float* bias, Activation activation, float* y, OutputStatistics* statistics, const Context& context);
size_t conv2d_codes_workspace(const ConvGeometry& g, int threads);

// Gradients to compute; null: not wanted.
struct ConvGradients {
  float* dx = nullptr;
  float* d_kernel = nullptr;
  float* d_bias = nullptr;
  NormSums* sums = nullptr;  // of the batch norm before, to be taken of dx; they get their chunks
  // Becomes a bound of the magnitude of d_kernel's elements where one is cheap to know: where they are many beside x and dy.
  double* kernel_bound = nullptr;
};

// All gradients at once, block by block, so that a block of `gradient` is read while it is in the cache. `bf16` rounds the
// operands of the products to bfloat16 (needs kernels.bf16_product); sums stay f32.
size_t conv2d_backward_workspace(const ConvGeometry& g, int64_t max_rows, bool bf16, int threads);
void conv2d_backward(const ConvGeometry& g, int64_t rows, const LayerInput& x, const float* kernel, const OutputGradient& gradient,
                     const ConvGradients& targets, bool bf16, const Context& context);

// Kernel [kh, kw, in, multiplier]; output channel = in * multiplier + m.
size_t depthwise_workspace(const ConvGeometry& g, int64_t max_rows, int threads);
void depthwise_forward(const ConvGeometry& g, int64_t rows, const LayerInput& x, const float* kernel, const float* bias,
                       Activation activation, float* y, OutputStatistics* statistics, const Context& context);
// All gradients at once, some lines at a time.
size_t depthwise_backward_workspace(const ConvGeometry& g, int64_t max_rows, int threads);
void depthwise_backward(const ConvGeometry& g, int64_t rows, const LayerInput& x, const float* kernel, const OutputGradient& gradient,
                        const ConvGradients& targets, const Context& context);

}  // namespace pcqat
