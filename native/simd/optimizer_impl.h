// Optimizer updates, one pass over gradient, slots and weight.
#pragma once

#include "simd/f32_kernels.h"
#include "simd/f32_vector.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

// 1 where the mask is not 0, as floats.
PCQAT_INLINE Vec mask_factor(const uint8_t* mask, int64_t lanes) {
  float factor[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) factor[i] = i < lanes && mask[i] != 0 ? 1.0f : 0.0f;
  return load(factor);
}

// w where the mask is not 0, else 0.
PCQAT_INLINE Vec masked(Vec w, const uint8_t* mask, int64_t lanes) {
#if defined(__AVX512F__) && !defined(PCQAT_F32_SCALAR)
  const __m128i bytes = _mm_maskz_loadu_epi8(first(lanes), mask);
  return _mm512_maskz_mov_ps(_mm_test_epi8_mask(bytes, bytes), w);
#else
  return mask_factor(mask, lanes) != Vec{} ? w : Vec{};
#endif
}

PCQAT_INLINE Vec clipped(Vec g, float scale, float clip) {
  g *= splat(scale);
  return clip > 0 ? clamp(g, splat(-clip), splat(clip)) : g;
}

void adam(int64_t count, const AdamConstants& k, const uint8_t* mask, const float* gradient, float* m, float* v, float* weight) {
  const Vec rate1 = splat(k.one_minus_beta1), rate2 = splat(k.one_minus_beta2), alpha = splat(k.alpha), epsilon = splat(k.epsilon);
  for_vectors(count, [&](int64_t i, auto access) {
    const Vec g = clipped(access.load(gradient + i), k.gradient_scale, k.clip_value);
    Vec w = access.load(weight + i);
    if (k.masks_weight) w = masked(w, mask + i, access.lanes());
    if (k.decay != 0) {
      const Vec decay = splat(k.decay);
      w -= w * (mask == nullptr ? decay : decay * mask_factor(mask + i, access.lanes()));
    }
    const Vec m_old = access.load(m + i), v_old = access.load(v + i);
    const Vec m_new = m_old + (g - m_old) * rate1, v_new = v_old + (g * g - v_old) * rate2;
    access.store(m + i, m_new);
    access.store(v + i, v_new);
    access.store(weight + i, w - alpha * m_new / (sqrt(v_new) + epsilon));
  });
}

void sgd(int64_t count, const SgdConstants& k, const uint8_t* mask, const float* gradient, float* velocity, float* weight) {
  const Vec rate = splat(k.learning_rate), momentum = splat(k.momentum);
  for_vectors(count, [&](int64_t i, auto access) {
    Vec g = clipped(access.load(gradient + i), k.gradient_scale, k.clip_value);
    Vec w = access.load(weight + i);
    if (k.masks_weight) w = masked(w, mask + i, access.lanes());
    if (k.weight_decay != 0) {
      const Vec decay = splat(k.weight_decay);
      g += w * (mask == nullptr ? decay : decay * mask_factor(mask + i, access.lanes()));
    }
    const Vec velocity_new = momentum * access.load(velocity + i) - rate * g;
    access.store(velocity + i, velocity_new);
    access.store(weight + i, w + (k.nesterov ? momentum * velocity_new - rate * g : velocity_new));
  });
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
