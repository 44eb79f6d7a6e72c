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

constexpr int64_t kPiece = 4;

// Short copies in pieces of four; the last may overlap the one before. The library's would spend more time on finding out how.
void copy(const float* from, int64_t count, float* to) {
  constexpr int64_t kLong = 64;
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

void clear(int64_t rows, int64_t length, int64_t step, float* to) {
  for (int64_t i = 0; i < rows; ++i) clear(length, to + i * step);
}

// An output pixel, counted over all images.
struct Pixel {
  int64_t image, row, column;

  Pixel(const ConvGeometry& g, int64_t index)
      : image(index / (g.out_w * g.out_h)), row(index / g.out_w % g.out_h), column(index % g.out_w) {}
  // To another one of this row, or to the beginning of the next.
  void advance(const ConvGeometry& g, int64_t pixels) {
    column += pixels;
    if (column < g.out_w) return;
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

void gather_patch(const ConvGeometry& g, const float* x, const Pixel& pixel, float* patch) {
  const int64_t channels = g.in_c, row = g.kernel_w * channels;
  each_patch_row(
      g, pixel,
      [&](const Run& run, int64_t in_patch, int64_t in_x) {
        float* to = patch + in_patch;
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

// Rows of windows that lie side by side in the image, `length` floats each: in Pieces pieces of four, or in any number if that is 0.
struct WindowRows {
  int64_t pixels, rows, length, x_pixel, x_row, patch_size;
};
template <int Pieces>
void copy_window_rows(const WindowRows& w, const float* x, float* patches) {
  for (int64_t i = 0; i < w.pixels; ++i) {
    for (int64_t row = 0; row < w.rows; ++row) {
      const float* from = x + i * w.x_pixel + row * w.x_row;
      float* to = patches + i * w.patch_size + row * w.length;
      if constexpr (Pieces == 0) {
        copy(from, w.length, to);
      } else {
        for (int piece = 0; piece < Pieces - 1; ++piece) std::memcpy(to + piece * kPiece, from + piece * kPiece, sizeof(float) * kPiece);
        std::memcpy(to + w.length - kPiece, from + w.length - kPiece, sizeof(float) * kPiece);
      }
    }
  }
}

// Patches of pixels of one row, whose windows lie inside the image from left to right.
void copy_windows(const ConvGeometry& g, const float* x, const Pixel& pixel, int64_t pixels, float* patches) {
  const int64_t top = pixel.row * g.stride_h - g.pad_top, left = pixel.column * g.stride_w - g.pad_left, length = g.kernel_w * g.in_c;
  const auto [begin, end] = inside_rows(g, top);
  const int64_t size = patch_size(g);
  clear(pixels, begin * length, size, patches);
  clear(pixels, (g.kernel_h - end) * length, size, patches + end * length);
  const WindowRows rows{pixels, end - begin, length, g.stride_w * g.in_c, g.dilation_h * g.in_w * g.in_c, size};
  const float* from = x + ((pixel.image * g.in_h + top + begin * g.dilation_h) * g.in_w + left) * g.in_c;
  float* to = patches + begin * length;
  switch ((length + kPiece - 1) / kPiece) {
    case 1: return copy_window_rows<1>(rows, from, to);
    case 2: return copy_window_rows<2>(rows, from, to);
    case 3: return copy_window_rows<3>(rows, from, to);
    default: return copy_window_rows<0>(rows, from, to);
  }
}

// Where many windows lie partly beside the image, its rows are copied between zeros first, as many as this memory holds.
constexpr int64_t kPaddedFloats = 4096;

int64_t padded_width(const ConvGeometry& g) { return (g.out_w - 1) * g.stride_w + g.kernel_w; }
int64_t window_height(const ConvGeometry& g) { return (g.kernel_h - 1) * g.dilation_h + 1; }

bool pads_first(const ConvGeometry& g) {
  const Range inside = inside_columns(g);
  return g.dilation_w == 1 && g.kernel_w * g.in_c >= kPiece && 4 * (inside.end - inside.begin) < 3 * g.out_w &&
         window_height(g) <= kPaddedFloats / (padded_width(g) * g.in_c);
}

// Rows [top, top + rows) of an image, zeros around it.
void pad_rows(const ConvGeometry& g, const float* image, int64_t top, int64_t rows, float* padded) {
  const int64_t width = padded_width(g), begin = std::min(g.pad_left, width), end = std::min(g.pad_left + g.in_w, width);
  for (int64_t row = top; row < top + rows; ++row, padded += width * g.in_c) {
    if (row < 0 || row >= g.in_h) {
      clear(width * g.in_c, padded);
      continue;
    }
    clear(begin * g.in_c, padded);
    copy(image + row * g.in_w * g.in_c, (end - begin) * g.in_c, padded + begin * g.in_c);
    clear((width - end) * g.in_c, padded + end * g.in_c);
  }
}

void gather_padded(const ConvGeometry& g, const float* x, int64_t first, int64_t count, float* patches) {
  float padded[kPaddedFloats];
  const int64_t width = padded_width(g), most_lines = kPaddedFloats / (width * g.in_c);
  const int64_t most_rows = (most_lines - window_height(g)) / g.stride_h + 1;
  while (count > 0) {
    const Pixel pixel(g, first);
    const int64_t rows = std::min({most_rows, g.out_h - pixel.row, (pixel.column + count - 1) / g.out_w + 1});
    const int64_t pixels = std::min(count, rows * g.out_w - pixel.column), lines = (rows - 1) * g.stride_h + window_height(g);
    pad_rows(g, x + pixel.image * g.in_h * g.in_w * g.in_c, pixel.row * g.stride_h - g.pad_top, lines, padded);
    const ConvGeometry piece{lines,      width,      g.in_c,     rows, g.out_w, g.out_c,      g.kernel_h,
                             g.kernel_w, g.stride_h, g.stride_w, 0,    0,       g.dilation_h, 1};
    gather_patches(piece, padded, pixel.column, pixels, patches);
    first += pixels;
    count -= pixels;
    patches += pixels * patch_size(g);
  }
}

}  // namespace

Range inside_columns(const ConvGeometry& g) {
  if (g.dilation_w != 1 || g.in_w < g.kernel_w) return {0, 0};
  const int64_t begin = std::min(g.out_w, (g.pad_left + g.stride_w - 1) / g.stride_w);
  return {begin, std::clamp((g.in_w - g.kernel_w + g.pad_left + g.stride_w) / g.stride_w, begin, g.out_w)};
}

Range inside_rows(const ConvGeometry& g, int64_t top) {
  const int64_t begin = std::min(g.kernel_h, top >= 0 ? 0 : (-top + g.dilation_h - 1) / g.dilation_h);
  return {begin, std::clamp((g.in_h - top + g.dilation_h - 1) / g.dilation_h, begin, g.kernel_h)};
}

void gather_patches(const ConvGeometry& g, const float* x, int64_t first, int64_t count, float* patches) {
  if (pads_first(g)) return gather_padded(g, x, first, count, patches);
  const int64_t size = patch_size(g), length = g.kernel_w * g.in_c;
  const Range inside = inside_columns(g);
  const bool side_by_side = length >= kPiece;
  Pixel pixel(g, first);
  for (int64_t i = 0; i < count;) {
    if (!side_by_side || pixel.column < inside.begin || pixel.column >= inside.end) {
      gather_patch(g, x, pixel, patches + i * size);
      pixel.advance(g, 1);
      ++i;
      continue;
    }
    const int64_t pixels = std::min(count - i, inside.end - pixel.column);
    copy_windows(g, x, pixel, pixels, patches + i * size);
    pixel.advance(g, pixels);
    i += pixels;
  }
}

void scatter_patches(const ConvGeometry& g, const float* patches, int64_t first, int64_t count, float* x, const F32Kernels& kernels) {
  const int64_t size = patch_size(g), channels = g.in_c;
  Pixel pixel(g, first);
  for (int64_t i = 0; i < count; ++i, pixel.advance(g, 1)) {
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
