// One optimizer update of one tensor, fused: clip, decay, moments, weight.
#pragma once

#include <cstdint>

#include "simd/f32_kernels.h"

namespace pcqat {

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

// What a step does to a tensor, piece by piece in any order.
class TensorUpdate {
 public:
  static TensorUpdate adam(const UpdateSettings& u, const AdamSettings& a, bool decoupled_decay, float* m, float* v, float* weight);
  // Keras SGD: velocity = momentum * velocity - lr * g; w += velocity, or with Nesterov w += momentum * velocity - lr * g.
  static TensorUpdate sgd(const UpdateSettings& u, float momentum, bool nesterov, float* velocity, float* weight);

  // Elements [at, at + count), with their gradient.
  void piece(int64_t at, int64_t count, const float* gradient, const F32Kernels& kernels) const;

  // What a piece reads and writes besides the gradient and the mask; null: nothing.
  static constexpr int kArrays = 3;
  float* const* arrays() const { return arrays_; }

 private:
  TensorUpdate(const UpdateSettings& u, bool is_sgd, float* first, float* second, float* weight)
      : is_sgd_(is_sgd), mask_(u.mask), arrays_{first, second, weight} {}

  bool is_sgd_;
  AdamConstants adam_{};
  SgdConstants sgd_{};
  const uint8_t* mask_;
  float* arrays_[kArrays];  // slots, weight
};

}  // namespace pcqat
