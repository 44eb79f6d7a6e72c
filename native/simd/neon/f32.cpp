#define PCQAT_ISA_NAMESPACE neon
#include "simd/f32_impl.h"

namespace pcqat {
extern const F32Kernels f32_kernels_neon;
const F32Kernels f32_kernels_neon = neon::kF32Kernels;
}  // namespace pcqat
