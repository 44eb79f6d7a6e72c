#define PCQAT_ISA_NAMESPACE avx512
#include "simd/f32_impl.h"

namespace pcqat {
extern const F32Kernels f32_kernels_avx512;
const F32Kernels f32_kernels_avx512 = avx512::kF32Kernels;
}  // namespace pcqat
