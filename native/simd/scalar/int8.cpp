#define PCQAT_ISA_NAMESPACE scalar
#include "simd/int8_impl.h"

namespace pcqat {
extern const Int8Kernels int8_kernels_scalar;
const Int8Kernels int8_kernels_scalar{0};
}  // namespace pcqat
