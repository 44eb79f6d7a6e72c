#include <algorithm>
#include <cmath>

#include "optim/optimizer.h"

namespace pcqat {

void adam_update(int64_t count, const UpdateSettings& u, const AdamSettings& a, bool decoupled_decay, const float* gradient, float* m,
                 float* v, float* weight, const Context&) {
  const float step = static_cast<float>(a.step);
  const float alpha = u.learning_rate * std::sqrt(1.0f - std::pow(static_cast<float>(a.beta2), step)) /
                      (1.0f - std::pow(static_cast<float>(a.beta1), step));
  const float one_minus_beta1 = static_cast<float>(1.0 - a.beta1), one_minus_beta2 = static_cast<float>(1.0 - a.beta2);
  const float decay = decoupled_decay ? u.learning_rate * u.weight_decay : 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    float g = gradient[i] * u.gradient_scale;
    if (u.clip_value > 0) g = std::min(std::max(g, -u.clip_value), u.clip_value);
    float w = weight[i];
    if (decay != 0 && (!u.mask || u.mask[i])) w -= w * decay;
    m[i] += (g - m[i]) * one_minus_beta1;
    v[i] += (g * g - v[i]) * one_minus_beta2;
    weight[i] = w - alpha * m[i] / (std::sqrt(v[i]) + a.epsilon);
  }
}

}  // namespace pcqat
