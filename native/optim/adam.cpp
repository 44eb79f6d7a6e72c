#include <cmath>

#include "optim/optimizer.h"

namespace pcqat {

TensorUpdate TensorUpdate::adam(const UpdateSettings& u, const AdamSettings& a, bool decoupled_decay, float* m, float* v, float* weight) {
  TensorUpdate update(u, false, m, v, weight);
  // The powers are f32, as in the reference.
  const float step = static_cast<float>(a.step);
  const float alpha = u.learning_rate * std::sqrt(1.0f - std::pow(static_cast<float>(a.beta2), step)) /
                      (1.0f - std::pow(static_cast<float>(a.beta1), step));
  update.adam_ = {u.gradient_scale,
                  u.clip_value,
                  decoupled_decay ? u.learning_rate * u.weight_decay : 0.0f,
                  static_cast<float>(1.0 - a.beta1),
                  static_cast<float>(1.0 - a.beta2),
                  alpha,
                  a.epsilon,
                  u.masks_weight};
  return update;
}

}  // namespace pcqat
