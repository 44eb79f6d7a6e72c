#include <cmath>

#include "ops/chunks.h"
#include "optim/optimizer.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

void adam_update(int64_t count, const UpdateSettings& u, const AdamSettings& a, bool decoupled_decay, const float* gradient, float* m,
                 float* v, float* weight, const Context& context) {
  // The powers are f32, as in the reference.
  const float step = static_cast<float>(a.step);
  const float alpha = u.learning_rate * std::sqrt(1.0f - std::pow(static_cast<float>(a.beta2), step)) /
                      (1.0f - std::pow(static_cast<float>(a.beta1), step));
  const AdamConstants constants{u.gradient_scale,
                                u.clip_value,
                                decoupled_decay ? u.learning_rate * u.weight_decay : 0.0f,
                                static_cast<float>(1.0 - a.beta1),
                                static_cast<float>(1.0 - a.beta2),
                                alpha,
                                a.epsilon,
                                u.masks_weight};
  const Chunks chunks = chunks_of(count, kChunkElements, 64);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t at = chunks.begin(chunk);
    context.kernels.f32->adam(chunks.length(chunk), constants, u.mask == nullptr ? nullptr : u.mask + at, gradient + at, m + at, v + at,
                              weight + at);
  });
}

}  // namespace pcqat
