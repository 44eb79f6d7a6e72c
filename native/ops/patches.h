// Patches of an image as rows of a matrix (im2col) and back (col2im).
#pragma once

#include <algorithm>

#include "ops/conv.h"
#include "simd/f32_kernels.h"

namespace pcqat {

// A convolution that is a matrix product as it stands: 1x1, stride 1, no padding.
inline bool is_pointwise(const ConvGeometry& g) {
  return g.kernel_h == 1 && g.kernel_w == 1 && g.stride_h == 1 && g.stride_w == 1 && g.pad_top == 0 && g.pad_left == 0 &&
         g.in_h == g.out_h && g.in_w == g.out_w;
}

// Length of a patch: kernel_h * kernel_w * in_c.
inline int64_t patch_size(const ConvGeometry& g) { return g.kernel_h * g.kernel_w * g.in_c; }

struct Range {
  int64_t begin, end;
};
// Columns of the output whose windows lie inside the image from left to right.
Range inside_columns(const ConvGeometry& g);
// Rows of a window that lie inside the image, whose first row is `top` of it.
Range inside_rows(const ConvGeometry& g, int64_t top);

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
// The part of memory that these pixels read and the ones before did not.
inline Upcoming upcoming_rows(const ConvGeometry& g, const LayerInput& input, int64_t first, int64_t count) {
  const float* const x = input.delayed == nullptr ? input.x : input.delayed->x;
  if (is_pointwise(g)) return {x + first * g.in_c, count * g.in_c};
  const int64_t pixels = g.out_h * g.out_w, row = g.in_w * g.in_c;
  const int64_t top = first % pixels / g.out_w * g.stride_h - g.pad_top + g.kernel_h - g.stride_h;
  return {x + (first / pixels * g.in_h + std::clamp<int64_t>(top, 0, g.in_h)) * row, count * g.in_h * row / pixels};
}
// Adds patches to the pixels they came from.
void scatter_patches(const ConvGeometry& g, const float* patches, int64_t first, int64_t count, float* x, const F32Kernels& kernels);

}  // namespace pcqat
