// Batch normalization (Ioffe & Szegedy 2015), with activation and fake quantization fused into the same pass.
//
// Since gamma * x̂ + beta and the activation are monotone per channel, the extremes of the output follow from the extremes
// of each channel's input, which the statistics pass finds anyway. So the range is known before the output is written,
// and fake quantization costs no extra pass over memory.
#pragma once

#include "ops/common.h"
#include "simd/f32_kernels.h"

namespace pcqat {

struct OutputStatistics;  // ops/statistics.h

struct BatchNormParameters {
  int64_t channels;
  float epsilon;
  double momentum;  // double: TensorFlow takes 1 - momentum in double and then rounds to f32
  const float* gamma;
  const float* beta;
  float* moving_mean;      // updated in training
  float* moving_variance;  // with the unbiased batch variance if `count` > 1, as TensorFlow's fused operator does
};

// `count` = rows * height * width.
size_t batch_norm_workspace(int64_t channels, int64_t max_count, int threads);

// The output of a batch norm, to be computed row by row from its input: y = finish(scale x + shift).
struct NormOutput {
  int64_t channels = 0;
  const float* x = nullptr;  // the input; null: none
  const float *scale = nullptr, *shift = nullptr;
  Finish finish{};
  bool is_zero = false;  // a range of zero width: zero even for NaN
};

// Floats per channel that the forward pass saves (mean, 1/sqrt(variance + epsilon), scale, shift) or the backward pass adds.
constexpr int64_t kNormSaved = 6;

// First half of the forward pass: batch statistics, moving statistics and range; the constants lie in `saved`, kNormSaved floats per
// channel. range: the nudged range used, kept for backward (untouched without fake quantization). taken: the sums that the layer before
// took of x; null: they are taken here.
NormOutput batch_norm_forward_training(const BatchNormParameters& p, int64_t count, const float* x, const OutputStatistics* taken,
                                       Activation activation, const ActivationQuant& quant, float* saved, NudgedRange* range,
                                       const Context& context);
// Second half: rows [first, first + rows) of y, which points to the first of them.
void norm_output_rows(const NormOutput& output, int64_t first, int64_t rows, const RowBlocks& y, const Kernels& kernels);
void norm_output_rows(const NormOutput& output, int64_t first, int64_t rows, float* y, const Kernels& kernels);
// All rows.
void norm_output_all(const NormOutput& output, int64_t count, float* y, const Context& context);

void batch_norm_forward_inference(const BatchNormParameters& p, int64_t count, const float* x, Activation activation,
                                  const ActivationQuant& quant, NudgedRange* range, float* y, const Context& context);

// Sums that the gradients of a batch norm follow from, per chunk of the rows of its output's gradient.
struct NormSums {
  int64_t channels = 0;
  const float *x = nullptr, *scale = nullptr, *shift = nullptr, *mean = nullptr;
  PassInterval pass{};
  int64_t chunks = 0;          // whoever takes the sums sets it, at most kMaxChunks
  double* gradient = nullptr;  // Σ g per chunk and channel
  double* product = nullptr;   // Σ g (x - mean)

  void start(int64_t chunk) const;
  // Rows [first, first + rows) of the gradient; dy points to the first of them.
  void take(int64_t chunk, int64_t first, int64_t rows, const float* dy, const Kernels& kernels) const;
};
// `gradient` and `product`: kMaxChunks per channel each. The activation's and fake quantization's gradient masks are recomputed from x.
// range null: no fake quantization.
NormSums norm_sums(const NormOutput& output, Activation activation, const NudgedRange* range, const float* saved, double* gradient,
                   double* product);
// Those of all rows.
void take_sums(int64_t count, const float* dy, NormSums* sums, const Context& context);

// The gradient of a batch norm's input, to be computed row by row from that of its output:
// dx = scale g + slope (x - mean) + offset with g = dy where the output passes gradients, else 0.
struct NormGradient {
  int64_t channels = 0;
  const float* x = nullptr;  // the input
  const float *scale = nullptr, *shift = nullptr, *mean = nullptr, *slope = nullptr, *offset = nullptr;
  PassInterval pass{};
};

// First half of the backward pass: the parameters' gradients, and the constants of the input's, which join the others in `saved`.
// `sums` taken by whoever computed dy, or without chunks: they are taken here.
NormGradient batch_norm_backward(NormSums sums, int64_t count, float* saved, const float* dy, float* d_gamma, float* d_beta,
                                 const Context& context);
// Second half: rows [first, first + rows) of dx from those of dy. Both point to the first of these rows; they may be the same.
void norm_gradient_rows(const NormGradient& gradient, int64_t first, int64_t rows, const float* dy, const RowBlocks& dx,
                        const Kernels& kernels);
void norm_gradient_rows(const NormGradient& gradient, int64_t first, int64_t rows, const float* dy, float* dx, const Kernels& kernels);
// All rows.
void norm_gradient_all(const NormGradient& gradient, int64_t count, const float* dy, float* dx, const Context& context);

// The input of a layer. With `delayed` it is the output of the batch norm before it, and whoever uses rows computes them, in memory
// that is in its cache.
struct LayerInput {
  const float* x = nullptr;
  const NormOutput* delayed = nullptr;
  float* settled = nullptr;  // where all rows may be computed at once, if `delayed`
};
// All rows, computed if they still have to be.
const float* settle(const LayerInput& input, int64_t count, const Context& context);

// The gradient of a layer's output. With `delayed` the rows are still those of the batch norm that follows the layer, and whoever uses
// them computes its own from them likewise.
struct OutputGradient {
  const float* dy = nullptr;
  const NormGradient* delayed = nullptr;
  float* settled = nullptr;  // where all rows may be computed at once, if `delayed`; may be dy
};
const float* settle(const OutputGradient& gradient, int64_t count, const Context& context);

}  // namespace pcqat
