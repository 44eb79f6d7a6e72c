#define PCQAT_ISA_NAMESPACE avx2
#include "simd/compression_impl.h"

namespace pcqat {
extern const CompressionKernels compression_kernels_avx2;
const CompressionKernels compression_kernels_avx2 = avx2::kernels;
}  // namespace pcqat
