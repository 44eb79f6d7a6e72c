#define PCQAT_ISA_NAMESPACE scalar
#include "simd/f32_impl.h"

namespace pcqat {
extern const F32Kernels f32_kernels_scalar;
const F32Kernels f32_kernels_scalar{0};
}  // namespace pcqat
