#include <arm_neon.h>
#include <stdint.h>

#define PCQAT_ISA_NAMESPACE neon
namespace pcqat::neon {

constexpr int64_t kLanes = 4, kVectors = 4;
constexpr int kRows = 4;
constexpr int kPair = 2;
constexpr uint32_t kBiasPerWeight = 0;
typedef int32_t Acc __attribute__((vector_size(16)));
typedef int8_t Weight;
struct Taps {
  int8x8_t first, second;  // taps 0 and 1, taps 2 and 3, four times
};

static inline Taps load_taps(const int8_t* a) {
  int16_t pairs[2];
  __builtin_memcpy(pairs, a, 4);
  return {vreinterpret_s8_s16(vdup_n_s16(pairs[0])), vreinterpret_s8_s16(vdup_n_s16(pairs[1]))};
}

static inline Acc dot4(Acc sum, Taps a, const Weight* w) {
  constexpr int64_t kNextPair = kLanes * kVectors * kPair;
  const int32x4_t first = vpadalq_s16(reinterpret_cast<int32x4_t>(sum), vmull_s8(a.first, vld1_s8(w)));
  return reinterpret_cast<Acc>(vpadalq_s16(first, vmull_s8(a.second, vld1_s8(w + kNextPair))));
}

// The multiplier is never negative, so the instruction's saturation cannot happen.
static inline Acc high_multiply(Acc x, Acc m) {
  return reinterpret_cast<Acc>(vqrdmulhq_s32(reinterpret_cast<int32x4_t>(x), reinterpret_cast<int32x4_t>(m)));
}

}  // namespace pcqat::neon

#include "simd/int8_impl.h"
PCQAT_INT8_TABLE(neon, nullptr)
