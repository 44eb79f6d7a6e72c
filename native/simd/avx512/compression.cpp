#define PCQAT_ISA_NAMESPACE avx512
#include "simd/compression_impl.h"

namespace pcqat {
extern const CompressionKernels compression_kernels_avx512;
const CompressionKernels compression_kernels_avx512 = avx512::kernels;
}  // namespace pcqat
