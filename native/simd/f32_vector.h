// One vector of floats in the widest form of the instruction set this unit is compiled for: GCC vector types for
// arithmetic and comparisons, intrinsics where those have no operator. Fused multiply-add is explicit (the project
// compiles with -ffp-contract=off), because fake quantization must round after every operation.
#pragma once

#include <stdint.h>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__) && !defined(PCQAT_F32_SCALAR)
#include <arm_neon.h>
#endif

#include "simd/inline.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

#define PCQAT_UNROLL _Pragma("GCC unroll 32")

#if defined(PCQAT_F32_SCALAR)
constexpr int kLanes = 1;
#elif defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef float UnalignedVec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

PCQAT_INLINE Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
PCQAT_INLINE void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
PCQAT_INLINE Vec splat(float v) { return v - Vec{}; }

#if defined(PCQAT_F32_SCALAR)
PCQAT_INLINE Vec load_n(const float* p, int64_t) { return load(p); }
PCQAT_INLINE void store_n(float* p, Vec v, int64_t) { store(p, v); }
PCQAT_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
PCQAT_INLINE Vec floor(Vec v) { return Vec{__builtin_floorf(v[0])}; }
PCQAT_INLINE Vec sqrt(Vec v) { return Vec{__builtin_sqrtf(v[0])}; }
// The second operand if either is NaN, as the x86 instructions have it.
PCQAT_INLINE Vec min(Vec a, Vec b) { return a < b ? a : b; }
PCQAT_INLINE Vec max(Vec a, Vec b) { return a > b ? a : b; }
#elif defined(__AVX512F__)
PCQAT_INLINE __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
PCQAT_INLINE Vec load_n(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
PCQAT_INLINE void store_n(float* p, Vec v, int64_t n) { _mm512_mask_storeu_ps(p, first(n), v); }
PCQAT_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
// The masked forms with all lanes set: GCC 12 warns about its own unmasked ones.
PCQAT_INLINE Vec floor(Vec v) { return _mm512_maskz_roundscale_ps(0xffff, v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
PCQAT_INLINE Vec sqrt(Vec v) { return _mm512_maskz_sqrt_ps(0xffff, v); }
PCQAT_INLINE Vec min(Vec a, Vec b) { return _mm512_maskz_min_ps(0xffff, a, b); }
PCQAT_INLINE Vec max(Vec a, Vec b) { return _mm512_maskz_max_ps(0xffff, a, b); }
#elif defined(__AVX2__)
PCQAT_INLINE __m256i first(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
PCQAT_INLINE Vec load_n(const float* p, int64_t n) { return _mm256_maskload_ps(p, first(n)); }
PCQAT_INLINE void store_n(float* p, Vec v, int64_t n) { _mm256_maskstore_ps(p, first(n), v); }
PCQAT_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
PCQAT_INLINE Vec floor(Vec v) { return _mm256_floor_ps(v); }
PCQAT_INLINE Vec sqrt(Vec v) { return _mm256_sqrt_ps(v); }
PCQAT_INLINE Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
PCQAT_INLINE Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
#else
PCQAT_INLINE Vec load_n(const float* p, int64_t n) {
  Vec v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
PCQAT_INLINE void store_n(float* p, Vec v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}
PCQAT_INLINE Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
PCQAT_INLINE Vec floor(Vec v) { return vrndmq_f32(v); }
PCQAT_INLINE Vec sqrt(Vec v) { return vsqrtq_f32(v); }
PCQAT_INLINE Vec min(Vec a, Vec b) { return a < b ? a : b; }
PCQAT_INLINE Vec max(Vec a, Vec b) { return a > b ? a : b; }
#endif

// Bits of v where low <= x <= high, else +0.
#if defined(__AVX512F__) && !defined(PCQAT_F32_SCALAR)
PCQAT_INLINE Vec keep_between(Vec x, Vec low, Vec high, Vec v) {
  return _mm512_maskz_mov_ps(_mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(x, low, _CMP_GE_OQ), x, high, _CMP_LE_OQ), v);
}
#else
PCQAT_INLINE Vec keep_between(Vec x, Vec low, Vec high, Vec v) { return (x >= low) & (x <= high) ? v : Vec{}; }
#endif

PCQAT_INLINE Vec clamp(Vec v, Vec low, Vec high) { return min(high, max(low, v)); }  // NaN stays NaN

// How a loop body touches memory: a whole vector, or the first n lanes.
struct Whole {
  PCQAT_INLINE Vec load(const float* p) const { return PCQAT_ISA_NAMESPACE::load(p); }
  PCQAT_INLINE void store(float* p, Vec v) const { PCQAT_ISA_NAMESPACE::store(p, v); }
  PCQAT_INLINE int64_t lanes() const { return kLanes; }
};
struct Part {
  int64_t n;
  PCQAT_INLINE Vec load(const float* p) const { return load_n(p, n); }
  PCQAT_INLINE void store(float* p, Vec v) const { store_n(p, v, n); }
  PCQAT_INLINE int64_t lanes() const { return n; }
};

// body(i, access) for i = 0, kLanes, … < count.
template <typename Body>
PCQAT_INLINE void for_vectors(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, Whole{});
  if (i < count) body(i, Part{count - i});
}

template <int N>
struct Count {
  static constexpr int value = N;
};

// body(c, access, count) over the channels of a pixel, decltype(count)::value vectors at a time: several (G, by default as many as 32 or 16
// registers allow for four values of each), then single ones, then the rest. Several at a time hide the latency of running sums.
template <int G = kLanes == 16 ? 4 : 2, typename Body>
PCQAT_INLINE void for_channels(int64_t channels, Body body) {
  int64_t c = 0;
  for (; c + G * kLanes <= channels; c += G * kLanes) body(c, Whole{}, Count<G>{});
  for (; c + kLanes <= channels; c += kLanes) body(c, Whole{}, Count<1>{});
  if (c < channels) body(c, Part{channels - c}, Count<1>{});
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
