#include <algorithm>

#include "optim/optimizer.h"

namespace pcqat {

void sgd_update(int64_t count, const UpdateSettings& u, float momentum, bool nesterov, const float* gradient, float* velocity, float* weight,
                const Context&) {
  for (int64_t i = 0; i < count; ++i) {
    float g = gradient[i] * u.gradient_scale;
    if (u.clip_value > 0) g = std::min(std::max(g, -u.clip_value), u.clip_value);
    if (u.weight_decay != 0 && (!u.mask || u.mask[i])) g += u.weight_decay * weight[i];
    velocity[i] = momentum * velocity[i] - u.learning_rate * g;
    weight[i] += nesterov ? momentum * velocity[i] - u.learning_rate * g : velocity[i];
  }
}

}  // namespace pcqat
