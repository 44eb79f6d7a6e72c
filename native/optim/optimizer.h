// One optimizer update of one tensor or a part of it, fused: clip, decay, moments, weight.
#pragma once

#include <cstdint>

namespace pcqat {

struct F32Kernels;

struct UpdateSettings {
  float learning_rate;
  float gradient_scale = 1;       // global-norm clipping factor
  float clip_value = 0;           // 0: off
  float weight_decay = 0;         // 0: off. Adam ignores it; AdamW decouples it; SGD adds it to the gradient.
  const uint8_t* mask = nullptr;  // weight decay applies only where the mask is 1 (null: everywhere)
  bool masks_weight = false;      // first the weight becomes 0 where the mask is 0
};

struct AdamSettings {
  double beta1, beta2;  // double: TensorFlow takes 1 - beta in double and then rounds to f32
  float epsilon;
  float alpha;

  // Spec 0.4: alpha = lr * sqrt(1 - beta2^t) / (1 - beta1^t), epsilon added to the un-corrected root. step: 1-based.
  static AdamSettings of(double beta1, double beta2, float epsilon, float learning_rate, int64_t step);
};

void adam_update(int64_t count, const UpdateSettings& u, const AdamSettings& a, bool decoupled_decay, const float* gradient, float* m,
                 float* v, float* weight, const F32Kernels& kernels);
// Keras SGD: velocity = momentum * velocity - lr * g; w += velocity, or with Nesterov w += momentum * velocity - lr * g.
void sgd_update(int64_t count, const UpdateSettings& u, float momentum, bool nesterov, const float* gradient, float* velocity,
                float* weight, const F32Kernels& kernels);

}  // namespace pcqat
