#include <cmath>

#include "optim/optimizer.h"

namespace pcqat {

AdamSettings AdamSettings::of(double beta1, double beta2, float epsilon, float learning_rate, int64_t step) {
  // The powers are f32, as in the reference.
  const float t = static_cast<float>(step);
  const float alpha =
      learning_rate * std::sqrt(1.0f - std::pow(static_cast<float>(beta2), t)) / (1.0f - std::pow(static_cast<float>(beta1), t));
  return {beta1, beta2, epsilon, alpha};
}

TensorUpdate TensorUpdate::adam(const UpdateSettings& u, const AdamSettings& a, bool decoupled_decay, float* m, float* v, float* weight) {
  TensorUpdate update(u, false, m, v, weight);
  update.adam_ = {u.gradient_scale,
                  u.clip_value,
                  decoupled_decay ? u.learning_rate * u.weight_decay : 0.0f,
                  static_cast<float>(1.0 - a.beta1),
                  static_cast<float>(1.0 - a.beta2),
                  a.alpha,
                  a.epsilon,
                  u.masks_weight};
  return update;
}

}  // namespace pcqat
