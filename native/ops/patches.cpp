#include "ops/patches.h"

#include <algorithm>
#include <cstring>

#include "simd/f32_kernels.h"

namespace pcqat {

namespace {

// One row of a patch whose elements lie side by side in the image: kernel columns [begin, end) are inside it.
struct Run {
  int64_t begin, end;
};

Run clip(const ConvGeometry& g, int64_t left) {
  // left + kw * dilation in [0, in_w)
  const int64_t begin = left >= 0 ? 0 : (-left + g.dilation_w - 1) / g.dilation_w;
  const int64_t end = left >= g.in_w ? 0 : (g.in_w - 1 - left) / g.dilation_w + 1;
  return {std::min(begin, g.kernel_w), std::max(std::min(end, g.kernel_w), std::min(begin, g.kernel_w))};
}

void copy(const float* from, int64_t count, float* to) {
  if (count >= 16) {
    std::memcpy(to, from, sizeof(float) * count);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
  }
}

// body(patch row as a Run, offset in the patch of kernel column 0, offset in x of kernel column 0) for every kernel row
// inside the image; outside(offset in the patch) for the others.
template <typename Inside, typename Outside>
void each_patch_row(const ConvGeometry& g, int64_t pixel, Inside inside, Outside outside) {
  const int64_t ow = pixel % g.out_w, oh = pixel / g.out_w % g.out_h, image = pixel / (g.out_w * g.out_h);
  const int64_t top = oh * g.stride_h - g.pad_top, left = ow * g.stride_w - g.pad_left;
  const Run run = clip(g, left);
  for (int64_t kh = 0; kh < g.kernel_h; ++kh) {
    const int64_t ih = top + kh * g.dilation_h, in_patch = kh * g.kernel_w * g.in_c;
    if (ih < 0 || ih >= g.in_h)
      outside(in_patch);
    else
      inside(run, in_patch, ((image * g.in_h + ih) * g.in_w + left) * g.in_c);
  }
}

}  // namespace

void gather_patches(const ConvGeometry& g, const float* x, int64_t first, int64_t count, float* patches) {
  const int64_t size = patch_size(g), channels = g.in_c, row = g.kernel_w * channels;
  for (int64_t i = 0; i < count; ++i) {
    float* patch = patches + i * size;
    each_patch_row(
        g, first + i,
        [&](const Run& run, int64_t in_patch, int64_t in_x) {
          float* to = patch + in_patch;
          std::fill(to, to + run.begin * channels, 0.0f);
          if (g.dilation_w == 1) {
            copy(x + in_x + run.begin * channels, (run.end - run.begin) * channels, to + run.begin * channels);
          } else {
            for (int64_t kw = run.begin; kw < run.end; ++kw) copy(x + in_x + kw * g.dilation_w * channels, channels, to + kw * channels);
          }
          std::fill(to + run.end * channels, to + row, 0.0f);
        },
        [&](int64_t in_patch) { std::fill(patch + in_patch, patch + in_patch + row, 0.0f); });
  }
}

void scatter_patches(const ConvGeometry& g, const float* patches, int64_t first, int64_t count, float* x, const F32Kernels& kernels) {
  const int64_t size = patch_size(g), channels = g.in_c;
  for (int64_t i = 0; i < count; ++i) {
    const float* patch = patches + i * size;
    each_patch_row(
        g, first + i,
        [&](const Run& run, int64_t in_patch, int64_t in_x) {
          const float* from = patch + in_patch;
          if (g.dilation_w == 1) {
            kernels.add((run.end - run.begin) * channels, from + run.begin * channels, x + in_x + run.begin * channels);
          } else {
            for (int64_t kw = run.begin; kw < run.end; ++kw) {
              kernels.add(channels, from + kw * channels, x + in_x + kw * g.dilation_w * channels);
            }
          }
        },
        [](int64_t) {});
  }
}

}  // namespace pcqat
