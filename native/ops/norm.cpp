#include "ops/norm.h"

#include <algorithm>
#include <cmath>

#include "ops/activation_range.h"
#include "ops/scalar.h"
#include "parallel/thread_pool.h"

namespace pcqat {

size_t batch_norm_workspace(int64_t channels, int64_t, int) { return sizeof(float) * 2 * channels; }

static void apply(const BatchNormParameters& p, int64_t count, const float* x, Activation activation, const ActivationQuant& quant,
                  const float* mean, const float* inverse, NudgedRange* range, float* y, const Context& context) {
  context.pool.parallel_for(count, [&](int64_t i) {
    for (int64_t c = 0; c < p.channels; ++c)
      y[i * p.channels + c] = activate((x[i * p.channels + c] - mean[c]) * (p.gamma[c] * inverse[c]) + p.beta[c], activation);
  });
  NudgedRange local;
  quantize_in_place(count * p.channels, y, quant, range ? range : &local);
}

void batch_norm_forward_training(const BatchNormParameters& p, int64_t count, const float* x, Activation activation,
                                 const ActivationQuant& quant, float* saved, NudgedRange* range, float* y, const Context& context) {
  const float decay = static_cast<float>(1.0 - p.momentum);
  context.pool.parallel_for(p.channels, [&](int64_t c) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; ++i) sum += x[i * p.channels + c];
    const double mean = sum / count;
    for (int64_t i = 0; i < count; ++i) squares += (x[i * p.channels + c] - mean) * (x[i * p.channels + c] - mean);
    const float variance = static_cast<float>(squares / count);
    saved[c] = static_cast<float>(mean);
    saved[p.channels + c] = 1.0f / std::sqrt(variance + p.epsilon);
    const float unbiased = static_cast<float>(squares / std::max<int64_t>(count - 1, 1));
    p.moving_mean[c] -= (p.moving_mean[c] - saved[c]) * decay;
    p.moving_variance[c] -= (p.moving_variance[c] - unbiased) * decay;
  });
  apply(p, count, x, activation, quant, saved, saved + p.channels, range, y, context);
}

void batch_norm_forward_inference(const BatchNormParameters& p, int64_t count, const float* x, Activation activation,
                                  const ActivationQuant& quant, float* y, const Context& context) {
  float* inverse = static_cast<float*>(context.workspace);
  for (int64_t c = 0; c < p.channels; ++c) inverse[c] = 1.0f / std::sqrt(p.moving_variance[c] + p.epsilon);
  apply(p, count, x, activation, quant, p.moving_mean, inverse, nullptr, y, context);
}

void batch_norm_backward(const BatchNormParameters& p, int64_t count, const float* x, Activation activation, const NudgedRange* range,
                         const float* saved, const float* dy, float* dx, float* d_gamma, float* d_beta, const Context& context) {
  context.pool.parallel_for(p.channels, [&](int64_t c) {
    const float mean = saved[c], inverse = saved[p.channels + c], scale = p.gamma[c] * inverse;
    double sum = 0, product = 0;
    const auto masked = [&](int64_t i) {
      const float v = (x[i * p.channels + c] - mean) * scale + p.beta[c];
      return activation_passes(v, activation) && quantize_passes(activate(v, activation), range) ? dy[i * p.channels + c] : 0.0f;
    };
    for (int64_t i = 0; i < count; ++i) {
      const double g = masked(i);
      sum += g;
      product += g * (x[i * p.channels + c] - mean) * inverse;
    }
    for (int64_t i = 0; i < count; ++i) {
      const double normalized = (x[i * p.channels + c] - mean) * inverse;
      dx[i * p.channels + c] = static_cast<float>(scale * (masked(i) - sum / count - normalized * product / count));
    }
    d_gamma[c] = static_cast<float>(product);
    d_beta[c] = static_cast<float>(sum);
  });
}

}  // namespace pcqat
