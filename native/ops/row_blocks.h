// Rows that the kernels write, as a plain matrix.
#pragma once

#include "simd/f32_kernels.h"

namespace pcqat {

inline RowBlocks plain_rows(float* data, int64_t channels, const F32Kernels& kernels) { return {data, channels, kernels.gemm_columns}; }

}  // namespace pcqat
