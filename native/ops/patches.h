// Patches of an image as rows of a matrix (im2col) and back (col2im).
#pragma once

#include "ops/conv.h"

namespace pcqat {

struct F32Kernels;

// A convolution that is a matrix product as it stands: 1x1, stride 1, no padding.
inline bool is_pointwise(const ConvGeometry& g) {
  return g.kernel_h == 1 && g.kernel_w == 1 && g.stride_h == 1 && g.stride_w == 1 && g.pad_top == 0 && g.pad_left == 0 &&
         g.in_h == g.out_h && g.in_w == g.out_w;
}

// Length of a patch: kernel_h * kernel_w * in_c.
inline int64_t patch_size(const ConvGeometry& g) { return g.kernel_h * g.kernel_w * g.in_c; }

// Patches of output pixels [first, first + count), counted over all images, zeros outside the image.
void gather_patches(const ConvGeometry& g, const float* x, int64_t first, int64_t count, float* patches);
// The rows that a kernel multiplies for these pixels, in place or in `memory`: of a pointwise convolution its input, of others patches.
inline const float* patch_rows(const ConvGeometry& g, const LayerInput& x, int64_t first, int64_t count, float* memory,
                               const Kernels& kernels) {
  if (is_pointwise(g) && x.delayed == nullptr) return x.x + first * patch_size(g);
  if (is_pointwise(g))
    norm_output_rows(*x.delayed, first, count, memory, kernels);
  else
    gather_patches(g, x.x, first, count, memory);
  return memory;
}
// Patches overlap, so their input has to be there at once.
inline LayerInput settle_patches(const ConvGeometry& g, int64_t rows, const LayerInput& x, const Context& context) {
  return is_pointwise(g) ? x : LayerInput{settle(x, rows * g.in_h * g.in_w, context)};
}
// Adds patches to the pixels they came from.
void scatter_patches(const ConvGeometry& g, const float* patches, int64_t first, int64_t count, float* x, const F32Kernels& kernels);

}  // namespace pcqat
