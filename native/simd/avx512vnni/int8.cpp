// GCC 12 warns about its own AVX-512 header when its functions are inlined (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#include <stdint.h>

#define PCQAT_ISA_NAMESPACE avx512vnni
namespace pcqat::avx512vnni {

constexpr int64_t kLanes = 16, kVectors = 2;
constexpr int kRows = 6;
constexpr int kPair = 4;
// vpdpbusd multiplies unsigned by signed bytes: activations get 128 added, and the bias loses 128 · Σw in return.
constexpr uint32_t kBiasPerWeight = 128;
typedef int32_t Acc __attribute__((vector_size(64)));
typedef int8_t Weight;
typedef __m512i Taps;

static inline Taps load_taps(const int8_t* a) {
  uint32_t four;
  __builtin_memcpy(&four, a, 4);
  return _mm512_set1_epi32(static_cast<int32_t>(four ^ 0x80808080u));
}

static inline Acc dot4(Acc sum, Taps a, const Weight* w) {
  return reinterpret_cast<Acc>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), a, _mm512_loadu_si512(w)));
}

#include "simd/avx512/high_multiply.h"

}  // namespace pcqat::avx512vnni

#include "simd/avx512vnni/fused_depthwise_three.h"
#include "simd/avx512vnni/fused_matmul.h"
#include "simd/int8_impl.h"
namespace pcqat::avx512vnni {
static const FusedInt8Kernels kFusedKernels{fused_bytes,          pack_fused,      fused_matmul,         fused_depthwise_bytes,
                                            pack_fused_depthwise, fused_depthwise, fused_depthwise_three};
}

PCQAT_INT8_TABLE(avx512vnni, &avx512vnni::kFusedKernels)
