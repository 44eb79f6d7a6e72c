// GCC 12 warns about its own AVX-512 header when its functions are inlined (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#include <stdint.h>

#define PCQAT_ISA_NAMESPACE avx512
namespace pcqat::avx512 {

constexpr int64_t kLanes = 16, kVectors = 2;
constexpr int kRows = 4;
constexpr int kPair = 2;
constexpr uint32_t kBiasPerWeight = 0;
typedef int32_t Acc __attribute__((vector_size(64)));
typedef int16_t Weight;
struct Taps {
  __m512i first, second;  // taps 0 and 1, taps 2 and 3, as int16 in every 32-bit lane
};

static inline Taps load_taps(const int8_t* a) {
  int32_t four;
  __builtin_memcpy(&four, a, 4);
  const __m512i wide = _mm512_cvtepi8_epi16(_mm256_set1_epi32(four));
  return {_mm512_shuffle_epi32(wide, _MM_PERM_AAAA), _mm512_shuffle_epi32(wide, _MM_PERM_BBBB)};
}

static inline Acc dot4(Acc sum, Taps a, const Weight* w) {
  constexpr int64_t kNextPair = kLanes * kVectors * kPair;
  const __m512i low = _mm512_madd_epi16(a.first, _mm512_loadu_si512(w));
  const __m512i high = _mm512_madd_epi16(a.second, _mm512_loadu_si512(w + kNextPair));
  return reinterpret_cast<Acc>(_mm512_add_epi32(_mm512_add_epi32(reinterpret_cast<__m512i>(sum), low), high));
}

#include "simd/avx512/high_multiply.h"

}  // namespace pcqat::avx512

#include "simd/int8_impl.h"
PCQAT_INT8_TABLE(avx512, nullptr)
