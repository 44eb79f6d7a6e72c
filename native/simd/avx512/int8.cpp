#define PCQAT_ISA_NAMESPACE avx512
#include "simd/int8_impl.h"

namespace pcqat {
extern const Int8Kernels int8_kernels_avx512;
const Int8Kernels int8_kernels_avx512{0};
}  // namespace pcqat
