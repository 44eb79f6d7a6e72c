// The sizes that the operators need, derived from the shapes of a checked program.
#pragma once

#include "ops/conv.h"
#include "ops/pool.h"
#include "ops/upsample.h"
#include "program/program.h"

namespace pcqat {

// Number of window positions along one axis; 0 or less when the window does not fit.
int64_t window_count(int64_t size, int64_t pad_before, int64_t pad_after, int64_t window, int64_t dilation, int64_t stride);

ConvGeometry conv_geometry(const Program& program, const Instruction& instruction);
// Of the convolution whose gradient a conv2d_transpose is: from its output to its input.
ConvGeometry transposed_geometry(const Program& program, const Instruction& instruction);
PoolGeometry pool_geometry(const Program& program, const Instruction& instruction);
PadGeometry pad_geometry(const Program& program, const Instruction& instruction);
UpSampleGeometry upsample_geometry(const Program& program, const Instruction& instruction);

}  // namespace pcqat
