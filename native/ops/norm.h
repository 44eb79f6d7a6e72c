// Batch normalization (Ioffe & Szegedy 2015), with activation and fake quantization fused into the same pass.
//
// Since gamma * x̂ + beta and the activation are monotone per channel, the extremes of the output follow from the extremes
// of each channel's input, which the statistics pass finds anyway. So the range is known before the output is written,
// and fake quantization costs no extra pass over memory.
#pragma once

#include "ops/common.h"

namespace pcqat {

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

// saved: 2 * channels floats (batch mean, 1/sqrt(variance + epsilon)), kept for backward.
// range: the nudged range used, kept for backward (untouched without fake quantization).
void batch_norm_forward_training(const BatchNormParameters& p, int64_t count, const float* x, Activation activation,
                                 const ActivationQuant& quant, float* saved, NudgedRange* range, float* y, const Context& context);
void batch_norm_forward_inference(const BatchNormParameters& p, int64_t count, const float* x, Activation activation,
                                  const ActivationQuant& quant, float* y, const Context& context);
// The activation's and fake quantization's gradient masks are recomputed from x. range null: no fake quantization.
void batch_norm_backward(const BatchNormParameters& p, int64_t count, const float* x, Activation activation, const NudgedRange* range,
                         const float* saved, const float* dy, float* dx, float* d_gamma, float* d_beta, const Context& context);

}  // namespace pcqat
