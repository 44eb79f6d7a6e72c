// One element at a time: the reference that the vector kernels are tested against.
#define PCQAT_SCALAR
#define PCQAT_ISA_NAMESPACE scalar
#include "simd/compression_impl.h"

namespace pcqat {
extern const CompressionKernels compression_kernels_scalar;
const CompressionKernels compression_kernels_scalar = scalar::kernels;
}  // namespace pcqat
