// Convolutions whose products read the image in place, row by row of the output: no patches are gathered.
#pragma once

#include "ops/conv.h"
#include "ops/gemm.h"

namespace pcqat {

// Short windows and long rows, as first layers have them.
bool reads_in_place(const ConvGeometry& g);
// Output rows [first, first + count), counted over all images, at most kRowsInPlace of them; patches: room for one patch of each row.
constexpr int64_t kRowsInPlace = 24;
void conv_rows(const ConvGeometry& g, int64_t first, int64_t count, const float* x, const RightSide& b, const float* bias,
               Activation activation, float* patches, float* y, const F32Kernels& kernels);

}  // namespace pcqat
