#define PCQAT_ISA_NAMESPACE avx2
#include "simd/f32_impl.h"

namespace pcqat {
extern const F32Kernels f32_kernels_avx2;
const F32Kernels f32_kernels_avx2 = avx2::kF32Kernels;
}  // namespace pcqat
