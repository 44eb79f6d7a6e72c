#include "optim/optimizer.h"
#include "simd/f32_kernels.h"

namespace pcqat {

void sgd_update(int64_t count, const UpdateSettings& u, float momentum, bool nesterov, const float* gradient, float* velocity,
                float* weight, const F32Kernels& kernels) {
  const SgdConstants constants{u.gradient_scale, u.clip_value, u.weight_decay, u.learning_rate, momentum, nesterov, u.masks_weight};
  kernels.sgd(count, constants, u.mask, gradient, velocity, weight);
}

}  // namespace pcqat
