#define PCQAT_ISA_NAMESPACE avx2
#include "simd/int8_impl.h"

namespace pcqat {
extern const Int8Kernels int8_kernels_avx2;
const Int8Kernels int8_kernels_avx2{0};
}  // namespace pcqat
