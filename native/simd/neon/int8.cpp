#define PCQAT_ISA_NAMESPACE neon
#include "simd/int8_impl.h"

namespace pcqat {
extern const Int8Kernels int8_kernels_neon;
const Int8Kernels int8_kernels_neon{0};
}  // namespace pcqat
