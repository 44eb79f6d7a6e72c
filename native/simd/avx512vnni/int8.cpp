#define PCQAT_ISA_NAMESPACE avx512vnni
#include "simd/int8_impl.h"

namespace pcqat {
extern const Int8Kernels int8_kernels_avx512vnni;
const Int8Kernels int8_kernels_avx512vnni{0};
}  // namespace pcqat
