#define PCQAT_ISA_NAMESPACE neon
#include "simd/compression_impl.h"

namespace pcqat {
extern const CompressionKernels compression_kernels_neon;
const CompressionKernels compression_kernels_neon = neon::kernels;
}  // namespace pcqat
