// The f32 kernels, compiled once per instruction set. No STL, no inline function shared with other units.
#pragma once

#include "simd/depthwise_impl.h"
#include "simd/elementwise_impl.h"
#include "simd/f32_kernels.h"
#include "simd/gemm_impl.h"
#include "simd/norm_impl.h"
#include "simd/optimizer_impl.h"
#include "simd/pack_impl.h"
#include "simd/unary_impl.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

constexpr F32Kernels kF32Kernels{kLanes,
                                 kRows,
                                 kColumns,
                                 gemm<F32Product>,
                                 pack_panel,
                                 pack_transposed,
                                 column_sums,
                                 depthwise,
                                 depthwise_gradient,
                                 channel_statistics,
                                 merge_moments,
                                 scale_shift,
                                 norm_gradient_sums,
                                 norm_gradient,
                                 extremes,
                                 finish,
                                 pass_gradient,
                                 add,
                                 add_scaled,
                                 scale,
                                 maximum,
                                 multiply,
                                 unary,
                                 unary_extremes,
                                 unary_gradient,
                                 all_finite,
                                 sum_of_squares,
                                 adam,
                                 sgd};

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
