#define PCQAT_ISA_NAMESPACE scalar
#include "simd/compression_impl.h"

namespace pcqat {
extern const CompressionKernels compression_kernels_scalar;
const CompressionKernels compression_kernels_scalar{0};
}  // namespace pcqat
