#include "ops/conv_rows.h"

#include <algorithm>

#include "ops/finish.h"
#include "ops/patches.h"
#include "simd/f32_kernels.h"

namespace pcqat {

bool reads_in_place(const ConvGeometry& g) {
  constexpr int64_t kLongestWindow = 128, kShortestRow = 32;
  const Range inside = inside_columns(g);
  return !is_pointwise(g) && patch_size(g) <= kLongestWindow && inside.end - inside.begin >= kShortestRow;
}

void conv_rows(const ConvGeometry& g, int64_t first, int64_t count, const float* x, const RightSide& b, const float* bias,
               Activation activation, float* patches, float* y, const F32Kernels& kernels) {
  const int64_t size = patch_size(g), out = g.out_c, in_row = g.in_w * g.in_c, length = g.kernel_w * g.in_c;
  const float low = activation_low(activation), high = activation_high(activation);
  const Range inside = inside_columns(g);
  for (int64_t row = first; row < first + count; ++row) {
    const int64_t top = row % g.out_h * g.stride_h - g.pad_top, left = inside.begin * g.stride_w - g.pad_left;
    const Range window = inside_rows(g, top);
    const int64_t parts = window.end - window.begin;
    const float* from = x + (row / g.out_h * g.in_h + top + window.begin * g.dilation_h) * in_row + left * g.in_c;
    GemmBlock product{inside.end - inside.begin,
                      out,
                      parts * length,
                      from,
                      g.stride_w * g.in_c,
                      1,
                      b.data + window.begin * length * b.row,
                      b.row,
                      b.panel,
                      b.padded,
                      y + (row * g.out_w + inside.begin) * out,
                      out,
                      false,
                      bias,
                      low,
                      high};
    product.parts = std::max<int64_t>(parts, 1);
    product.part_k = length;
    product.a_part = g.dilation_h * in_row;
    product.instead_of_a = upcoming_rows(g, {x}, (row + 1) * g.out_w, g.out_w);
    kernels.gemm(product);
  }
  // Windows that lie partly beside the image, a column of the output at a time.
  for (int64_t column = 0; column < g.out_w; ++column) {
    if (column == inside.begin) column = inside.end;
    if (column == g.out_w) break;
    for (int64_t i = 0; i < count; ++i) gather_patches(g, x, (first + i) * g.out_w + column, 1, patches + i * size);
    kernels.gemm({count, out, size, patches, size, 1, b.data, b.row, b.panel, b.padded, y + (first * g.out_w + column) * out, g.out_w * out,
                  false, bias, low, high});
  }
}

}  // namespace pcqat
