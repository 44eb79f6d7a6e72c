#include "ops/pool.h"

#include <algorithm>
#include <cstring>

#include "carver.h"
#include "ops/images.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// The part of a pooling window inside the image.
struct Window {
  int64_t top, bottom, left, right;
  float area() const { return static_cast<float>((bottom - top) * (right - left)); }
};

// body(offset in y of an output pixel, its window) for each output pixel of an image; offsets count floats.
template <typename Body>
void each_window(const PoolGeometry& g, Body body) {
  for (int64_t oh = 0; oh < g.out_h; ++oh) {
    const int64_t top = oh * g.stride_h - g.pad_top;
    for (int64_t ow = 0; ow < g.out_w; ++ow) {
      const int64_t left = ow * g.stride_w - g.pad_left;
      body((oh * g.out_w + ow) * g.channels, Window{std::max<int64_t>(top, 0), std::min(top + g.pool_h, g.in_h), std::max<int64_t>(left, 0),
                                                    std::min(left + g.pool_w, g.in_w)});
    }
  }
}

// body(offset in x of an input pixel) for each input pixel of a window, row-major.
template <typename Body>
void each_pixel(const PoolGeometry& g, const Window& window, Body body) {
  for (int64_t h = window.top; h < window.bottom; ++h) {
    for (int64_t w = window.left; w < window.right; ++w) body((h * g.in_w + w) * g.channels);
  }
}

int64_t in_floats(const PoolGeometry& g) { return g.in_h * g.in_w * g.channels; }
int64_t out_floats(const PoolGeometry& g) { return g.out_h * g.out_w * g.channels; }

// The gradient of one channel of one window goes to its first maximum.
void pass_to_maximum(const PoolGeometry& g, const Window& window, const float* x, float gradient, float* dx) {
  int64_t best = (window.top * g.in_w + window.left) * g.channels;
  each_pixel(g, window, [&](int64_t at) { best = x[at] > x[best] ? at : best; });
  dx[best] += gradient;
}

}  // namespace

void average_pool_forward(const PoolGeometry& g, int64_t rows, const float* x, float* y, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  each_image(rows, in_floats(g), context, [&](int64_t row, int) {
    each_window(g, [&](int64_t pixel, const Window& window) {
      float* out = y + row * out_floats(g) + pixel;
      std::fill(out, out + g.channels, 0.0f);
      each_pixel(g, window, [&](int64_t at) { kernels.add(g.channels, x + row * in_floats(g) + at, out); });
      kernels.scale(g.channels, 1.0f / window.area(), out);
    });
  });
}

void average_pool_backward(const PoolGeometry& g, int64_t rows, const float* dy, float* dx, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  each_image(rows, in_floats(g), context, [&](int64_t row, int) {
    float* image = dx + row * in_floats(g);
    std::fill(image, image + in_floats(g), 0.0f);
    each_window(g, [&](int64_t pixel, const Window& window) {
      const float* gradient = dy + row * out_floats(g) + pixel;
      each_pixel(g, window, [&](int64_t at) { kernels.add_scaled(g.channels, 1.0f / window.area(), gradient, image + at); });
    });
  });
}

void max_pool_forward(const PoolGeometry& g, int64_t rows, const float* x, float* y, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  each_image(rows, in_floats(g), context, [&](int64_t row, int) {
    const float* image = x + row * in_floats(g);
    each_window(g, [&](int64_t pixel, const Window& window) {
      float* out = y + row * out_floats(g) + pixel;
      std::memcpy(out, image + (window.top * g.in_w + window.left) * g.channels, sizeof(float) * g.channels);
      each_pixel(g, window, [&](int64_t at) { kernels.maximum(g.channels, image + at, out); });
    });
  });
}

void max_pool_backward(const PoolGeometry& g, int64_t rows, const float* x, const float* dy, float* dx, const Context& context) {
  each_image(rows, in_floats(g), context, [&](int64_t row, int) {
    const float* image = x + row * in_floats(g);
    float* gradient = dx + row * in_floats(g);
    std::fill(gradient, gradient + in_floats(g), 0.0f);
    each_window(g, [&](int64_t pixel, const Window& window) {
      for (int64_t c = 0; c < g.channels; ++c) {
        pass_to_maximum(g, window, image + c, dy[row * out_floats(g) + pixel + c], gradient + c);
      }
    });
  });
}

size_t global_average_pool_workspace(int64_t pixels, int64_t channels, int threads) {
  Carver workspace(nullptr);
  workspace.take<float>(threads * pixels * channels);
  return workspace.used();
}

void global_average_pool_forward(int64_t rows, int64_t pixels, int64_t channels, const LayerInput& x, float* y, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  Carver workspace(context.workspace);
  float* const images = workspace.take<float>(context.pool.threads() * pixels * channels);
  each_image(rows, pixels * channels, context, [&](int64_t row, int worker) {
    const float* image = x.x + row * pixels * channels;
    if (x.delayed != nullptr) {
      float* const computed = images + worker * pixels * channels;
      norm_output_rows(*x.delayed, row * pixels, pixels, computed, context.kernels);
      image = computed;
    }
    float* out = y + row * channels;
    kernels.column_sums(pixels, channels, image, out);
    kernels.scale(channels, 1.0f / static_cast<float>(pixels), out);
  });
}

void global_average_pool_backward(int64_t rows, int64_t pixels, int64_t channels, const float* dy, float* dx, NormSums* sums,
                                  const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const Chunks chunks = image_chunks(rows, pixels * channels);
  if (sums != nullptr) sums->chunks = chunks.count;
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    if (sums != nullptr) sums->start(chunk);
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      float* first = dx + row * pixels * channels;
      std::memcpy(first, dy + row * channels, sizeof(float) * channels);
      kernels.scale(channels, 1.0f / static_cast<float>(pixels), first);
      for (int64_t pixel = 1; pixel < pixels; ++pixel) std::memcpy(first + pixel * channels, first, sizeof(float) * channels);
      if (sums != nullptr) sums->take(chunk, row * pixels, pixels, first, context.kernels);
    }
  });
}

void pad_forward(const PadGeometry& g, int64_t rows, const float* x, float* y, const Context& context) {
  const int64_t in_row = g.in_w * g.channels, out_row = (g.left + g.in_w + g.right) * g.channels;
  const int64_t image = (g.top + g.in_h + g.bottom) * out_row;
  each_image(rows, image, context, [&](int64_t row, int) {
    float* out = y + row * image;
    std::fill(out, out + image, 0.0f);
    for (int64_t h = 0; h < g.in_h; ++h) {
      std::memcpy(out + (g.top + h) * out_row + g.left * g.channels, x + (row * g.in_h + h) * in_row, sizeof(float) * in_row);
    }
  });
}

void pad_backward(const PadGeometry& g, int64_t rows, const float* dy, float* dx, const Context& context) {
  const int64_t in_row = g.in_w * g.channels, out_row = (g.left + g.in_w + g.right) * g.channels;
  const int64_t image = (g.top + g.in_h + g.bottom) * out_row;
  each_image(rows, image, context, [&](int64_t row, int) {
    for (int64_t h = 0; h < g.in_h; ++h) {
      std::memcpy(dx + (row * g.in_h + h) * in_row, dy + row * image + (g.top + h) * out_row + g.left * g.channels, sizeof(float) * in_row);
    }
  });
}

}  // namespace pcqat
