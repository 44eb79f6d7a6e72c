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
// The rows that a kernel multiplies for these pixels: of a pointwise convolution its input, of others patches gathered into memory.
inline const float* patch_rows(const ConvGeometry& g, const float* x, int64_t first, int64_t count, float* patches) {
  if (is_pointwise(g)) return x + first * patch_size(g);
  gather_patches(g, x, first, count, patches);
  return patches;
}
// Adds patches to the pixels they came from.
void scatter_patches(const ConvGeometry& g, const float* patches, int64_t first, int64_t count, float* x, const F32Kernels& kernels);

}  // namespace pcqat
