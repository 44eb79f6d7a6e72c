#include "ops/chunks.h"
#include "optim/optimizer.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

void sgd_update(int64_t count, const UpdateSettings& u, float momentum, bool nesterov, const float* gradient, float* velocity,
                float* weight, const Context& context) {
  const SgdConstants constants{u.gradient_scale, u.clip_value, u.weight_decay, u.learning_rate, momentum, nesterov, u.masks_weight};
  const Chunks chunks = chunks_of(count, kChunkElements, 64);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t at = chunks.begin(chunk);
    context.kernels.f32->sgd(chunks.length(chunk), constants, u.mask == nullptr ? nullptr : u.mask + at, gradient + at, velocity + at,
                             weight + at);
  });
}

}  // namespace pcqat
