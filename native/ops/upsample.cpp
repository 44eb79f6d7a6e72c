#include "ops/upsample.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/images.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// The two input positions of one axis that an output position lies between, with their weights.
struct Taps {
  int64_t at[2];
  float weight[2];
};

// In f32, step by step as TensorFlow has it.
Taps taps_of(int64_t position, int64_t size, int64_t factor) {
  const float scale = static_cast<float>(size) / static_cast<float>(size * factor);
  const float center = (static_cast<float>(position) + 0.5f) * scale - 0.5f;
  const float below = std::floor(center), upper = center - below;
  const int64_t first = std::max<int64_t>(static_cast<int64_t>(below), 0);
  const int64_t second = std::min(static_cast<int64_t>(std::ceil(center)), size - 1);
  return {{first, second}, {1.0f - upper, upper}};
}

int64_t in_floats(const UpSampleGeometry& g) { return g.in_h * g.in_w * g.channels; }
int64_t out_floats(const UpSampleGeometry& g) { return in_floats(g) * g.factor_h * g.factor_w; }

// body(offset in x, offset in y, weight) for every pair of pixels, output pixels row-major.
template <typename Body>
void each_pair(const UpSampleGeometry& g, Body body) {
  const int64_t out_h = g.in_h * g.factor_h, out_w = g.in_w * g.factor_w;
  for (int64_t oh = 0; oh < out_h; ++oh) {
    const Taps rows = taps_of(oh, g.in_h, g.factor_h);
    for (int64_t ow = 0; ow < out_w; ++ow) {
      const Taps columns = taps_of(ow, g.in_w, g.factor_w);
      for (int r = 0; r < 2; ++r) {
        for (int c = 0; c < 2; ++c) {
          const float weight = rows.weight[r] * columns.weight[c];
          if (weight != 0) body((rows.at[r] * g.in_w + columns.at[c]) * g.channels, (oh * out_w + ow) * g.channels, weight);
        }
      }
    }
  }
}

void nearest_forward(const UpSampleGeometry& g, const float* x, float* y) {
  const int64_t row = g.in_w * g.factor_w * g.channels;
  for (int64_t h = 0; h < g.in_h; ++h) {
    float* first = y + h * g.factor_h * row;
    for (int64_t i = 0; i < g.in_w * g.factor_w; ++i) {
      std::memcpy(first + i * g.channels, x + (h * g.in_w + i / g.factor_w) * g.channels, sizeof(float) * g.channels);
    }
    for (int64_t copy = 1; copy < g.factor_h; ++copy) std::memcpy(first + copy * row, first, sizeof(float) * row);
  }
}

void nearest_backward(const UpSampleGeometry& g, const float* dy, float* dx, const F32Kernels& kernels) {
  const int64_t out_w = g.in_w * g.factor_w;
  for (int64_t oh = 0; oh < g.in_h * g.factor_h; ++oh) {
    for (int64_t ow = 0; ow < out_w; ++ow) {
      kernels.add(g.channels, dy + (oh * out_w + ow) * g.channels, dx + (oh / g.factor_h * g.in_w + ow / g.factor_w) * g.channels);
    }
  }
}

}  // namespace

void upsample_forward(const UpSampleGeometry& g, int64_t rows, const float* x, float* y, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  each_image(rows, out_floats(g), context, [&](int64_t row, int) {
    const float* in = x + row * in_floats(g);
    float* out = y + row * out_floats(g);
    if (!g.bilinear) return nearest_forward(g, in, out);
    std::fill(out, out + out_floats(g), 0.0f);
    each_pair(g, [&](int64_t from, int64_t to, float weight) { kernels.add_scaled(g.channels, weight, in + from, out + to); });
  });
}

void upsample_backward(const UpSampleGeometry& g, int64_t rows, const float* dy, float* dx, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  each_image(rows, out_floats(g), context, [&](int64_t row, int) {
    const float* gradient = dy + row * out_floats(g);
    float* image = dx + row * in_floats(g);
    std::fill(image, image + in_floats(g), 0.0f);
    if (!g.bilinear) return nearest_backward(g, gradient, image, kernels);
    each_pair(g, [&](int64_t to, int64_t from, float weight) { kernels.add_scaled(g.channels, weight, gradient + from, image + to); });
  });
}

}  // namespace pcqat
