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

// Short copies in pieces of four; the last may overlap the one before. The library's would spend more time on finding out how.
void copy(const float* from, int64_t count, float* to) {
  constexpr int64_t kPiece = 4, kLong = 64;
  if (count >= kLong) {
    std::memcpy(to, from, sizeof(float) * count);
    return;
  }
  if (count < kPiece) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
    return;
  }
  for (int64_t i = 0; i + kPiece <= count; i += kPiece) std::memcpy(to + i, from + i, sizeof(float) * kPiece);
  std::memcpy(to + count - kPiece, from + count - kPiece, sizeof(float) * kPiece);
}

void clear(int64_t count, float* to) {
  constexpr int64_t kPiece = 4;
  constexpr float kZeros[kPiece] = {};
  if (count < kPiece) {
    for (int64_t i = 0; i < count; ++i) {
      to[i] = 0;
      __asm__("" ::: "memory");  // or the compiler calls memset
    }
    return;
  }
  for (int64_t i = 0; i + kPiece <= count; i += kPiece) std::memcpy(to + i, kZeros, sizeof(kZeros));
  std::memcpy(to + count - kPiece, kZeros, sizeof(kZeros));
}

// An output pixel, counted over all images.
struct Pixel {
  int64_t image, row, column;

  Pixel(const ConvGeometry& g, int64_t index)
      : image(index / (g.out_w * g.out_h)), row(index / g.out_w % g.out_h), column(index % g.out_w) {}
  void advance(const ConvGeometry& g) {
    if (++column < g.out_w) return;
    column = 0;
    if (++row < g.out_h) return;
    row = 0;
    ++image;
  }
};

// body(patch row as a Run, offset in the patch of kernel column 0, offset in x of kernel column 0) for every kernel row
// inside the image; outside(offset in the patch) for the others.
template <typename Inside, typename Outside>
void each_patch_row(const ConvGeometry& g, const Pixel& pixel, Inside inside, Outside outside) {
  const int64_t top = pixel.row * g.stride_h - g.pad_top, left = pixel.column * g.stride_w - g.pad_left;
  const Run run = clip(g, left);
  for (int64_t kh = 0; kh < g.kernel_h; ++kh) {
    const int64_t ih = top + kh * g.dilation_h, in_patch = kh * g.kernel_w * g.in_c;
    if (ih < 0 || ih >= g.in_h)
      outside(in_patch);
    else
      inside(run, in_patch, ((pixel.image * g.in_h + ih) * g.in_w + left) * g.in_c);
  }
}

}  // namespace

void gather_patches(const ConvGeometry& g, const float* x, int64_t first, int64_t count, float* patches) {
  const int64_t size = patch_size(g), channels = g.in_c, row = g.kernel_w * channels;
  Pixel pixel(g, first);
  for (int64_t i = 0; i < count; ++i, pixel.advance(g)) {
    float* patch = patches + i * size;
    each_patch_row(
        g, pixel,
        [&](const Run& run, int64_t in_patch, int64_t in_x) {
          float* to = patch + in_patch;
          if (g.dilation_w == 1 && run.begin == 0 && run.end == g.kernel_w) {
            copy(x + in_x, row, to);
            return;
          }
          clear(run.begin * channels, to);
          if (g.dilation_w == 1) {
            copy(x + in_x + run.begin * channels, (run.end - run.begin) * channels, to + run.begin * channels);
          } else {
            for (int64_t kw = run.begin; kw < run.end; ++kw) copy(x + in_x + kw * g.dilation_w * channels, channels, to + kw * channels);
          }
          clear(row - run.end * channels, to + run.end * channels);
        },
        [&](int64_t in_patch) { clear(row, patch + in_patch); });
  }
}

void scatter_patches(const ConvGeometry& g, const float* patches, int64_t first, int64_t count, float* x, const F32Kernels& kernels) {
  const int64_t size = patch_size(g), channels = g.in_c;
  Pixel pixel(g, first);
  for (int64_t i = 0; i < count; ++i, pixel.advance(g)) {
    const float* patch = patches + i * size;
    each_patch_row(
        g, pixel,
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
