#define PCQAT_F32_SCALAR  // vectors of one lane: the plain C the other instruction sets are checked against
#define PCQAT_ISA_NAMESPACE scalar
#include "simd/f32_impl.h"

namespace pcqat {
extern const F32Kernels f32_kernels_scalar;
const F32Kernels f32_kernels_scalar = scalar::kF32Kernels;
}  // namespace pcqat
