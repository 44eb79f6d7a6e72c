#include <immintrin.h>
#include <stdint.h>

#define PCQAT_ISA_NAMESPACE avx2
namespace pcqat::avx2 {

constexpr int64_t kLanes = 8, kVectors = 2;
constexpr int kRows = 4;
constexpr int kPair = 2;
constexpr uint32_t kBiasPerWeight = 0;
typedef int32_t Acc __attribute__((vector_size(32)));
typedef int16_t Weight;
struct Taps {
  __m256i first, second;  // taps 0 and 1, taps 2 and 3, as int16 in every 32-bit lane
};

static inline Taps load_taps(const int8_t* a) {
  int32_t four;
  __builtin_memcpy(&four, a, 4);
  const __m256i wide = _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
  return {_mm256_shuffle_epi32(wide, 0x00), _mm256_shuffle_epi32(wide, 0x55)};
}

static inline Acc dot4(Acc sum, Taps a, const Weight* w) {
  constexpr int64_t kNextPair = kLanes * kVectors * kPair;
  const __m256i low = _mm256_madd_epi16(a.first, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
  const __m256i high = _mm256_madd_epi16(a.second, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + kNextPair)));
  return reinterpret_cast<Acc>(_mm256_add_epi32(_mm256_add_epi32(reinterpret_cast<__m256i>(sum), low), high));
}

// Only bits 31 to 62 of each 64-bit product are wanted, so a logical shift serves.
static inline Acc high_multiply(Acc x, Acc m) {
  const __m256i a = reinterpret_cast<__m256i>(x), b = reinterpret_cast<__m256i>(m), half = _mm256_set1_epi64x(int64_t{1} << 30);
  const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(a, b), half);
  const __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32)), half);
  return reinterpret_cast<Acc>(_mm256_blend_epi32(_mm256_srli_epi64(even, 31), _mm256_slli_epi64(odd, 1), 0xaa));
}

}  // namespace pcqat::avx2

#include "simd/int8_impl.h"
PCQAT_INT8_TABLE(avx2, nullptr)
