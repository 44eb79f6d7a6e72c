#include "optim/optimizer.h"

namespace pcqat {

TensorUpdate TensorUpdate::sgd(const UpdateSettings& u, float momentum, bool nesterov, float* velocity, float* weight) {
  TensorUpdate update(u, true, velocity, nullptr, weight);
  update.sgd_ = {u.gradient_scale, u.clip_value, u.weight_decay, u.learning_rate, momentum, nesterov, u.masks_weight};
  return update;
}

}  // namespace pcqat
