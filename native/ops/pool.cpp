#include "ops/pool.h"

#include <cstring>

#include "parallel/thread_pool.h"

namespace pcqat {

template <typename Body>
static void each_window(const PoolGeometry& g, Body body) {
  for (int64_t oh = 0; oh < g.out_h; ++oh) {
    for (int64_t ow = 0; ow < g.out_w; ++ow) {
      const int64_t h = oh * g.stride_h - g.pad_top, w = ow * g.stride_w - g.pad_left;
      const int64_t h0 = h < 0 ? 0 : h, h1 = h + g.pool_h > g.in_h ? g.in_h : h + g.pool_h;
      const int64_t w0 = w < 0 ? 0 : w, w1 = w + g.pool_w > g.in_w ? g.in_w : w + g.pool_w;
      body(oh * g.out_w + ow, h0, h1, w0, w1);
    }
  }
}

void average_pool_forward(const PoolGeometry& g, int64_t rows, const float* x, float* y, const Context& context) {
  context.pool.parallel_for(rows, [&](int64_t row) {
    each_window(g, [&](int64_t pixel, int64_t h0, int64_t h1, int64_t w0, int64_t w1) {
      float* out = y + (row * g.out_h * g.out_w + pixel) * g.channels;
      for (int64_t c = 0; c < g.channels; ++c) out[c] = 0;
      for (int64_t h = h0; h < h1; ++h)
        for (int64_t w = w0; w < w1; ++w)
          for (int64_t c = 0; c < g.channels; ++c) out[c] += x[((row * g.in_h + h) * g.in_w + w) * g.channels + c];
      for (int64_t c = 0; c < g.channels; ++c) out[c] /= static_cast<float>((h1 - h0) * (w1 - w0));
    });
  });
}

void average_pool_backward(const PoolGeometry& g, int64_t rows, const float* dy, float* dx, const Context& context) {
  context.pool.parallel_for(rows, [&](int64_t row) {
    std::memset(dx + row * g.in_h * g.in_w * g.channels, 0, sizeof(float) * g.in_h * g.in_w * g.channels);
    each_window(g, [&](int64_t pixel, int64_t h0, int64_t h1, int64_t w0, int64_t w1) {
      const float* out = dy + (row * g.out_h * g.out_w + pixel) * g.channels;
      for (int64_t h = h0; h < h1; ++h)
        for (int64_t w = w0; w < w1; ++w)
          for (int64_t c = 0; c < g.channels; ++c)
            dx[((row * g.in_h + h) * g.in_w + w) * g.channels + c] += out[c] / static_cast<float>((h1 - h0) * (w1 - w0));
    });
  });
}

void max_pool_forward(const PoolGeometry& g, int64_t rows, const float* x, float* y, const Context& context) {
  context.pool.parallel_for(rows, [&](int64_t row) {
    each_window(g, [&](int64_t pixel, int64_t h0, int64_t h1, int64_t w0, int64_t w1) {
      float* out = y + (row * g.out_h * g.out_w + pixel) * g.channels;
      for (int64_t c = 0; c < g.channels; ++c) {
        float best = x[((row * g.in_h + h0) * g.in_w + w0) * g.channels + c];
        for (int64_t h = h0; h < h1; ++h)
          for (int64_t w = w0; w < w1; ++w) {
            const float v = x[((row * g.in_h + h) * g.in_w + w) * g.channels + c];
            best = v > best ? v : best;
          }
        out[c] = best;
      }
    });
  });
}

void max_pool_backward(const PoolGeometry& g, int64_t rows, const float* x, const float* dy, float* dx, const Context& context) {
  context.pool.parallel_for(rows, [&](int64_t row) {
    std::memset(dx + row * g.in_h * g.in_w * g.channels, 0, sizeof(float) * g.in_h * g.in_w * g.channels);
    each_window(g, [&](int64_t pixel, int64_t h0, int64_t h1, int64_t w0, int64_t w1) {
      for (int64_t c = 0; c < g.channels; ++c) {
        int64_t best = ((row * g.in_h + h0) * g.in_w + w0) * g.channels + c;
        for (int64_t h = h0; h < h1; ++h)
          for (int64_t w = w0; w < w1; ++w) {
            const int64_t i = ((row * g.in_h + h) * g.in_w + w) * g.channels + c;
            if (x[i] > x[best]) best = i;
          }
        dx[best] += dy[(row * g.out_h * g.out_w + pixel) * g.channels + c];
      }
    });
  });
}

void global_average_pool_forward(int64_t rows, int64_t pixels, int64_t channels, const float* x, float* y, const Context& context) {
  average_pool_forward({pixels, 1, channels, 1, 1, pixels, 1, 1, 1, 0, 0}, rows, x, y, context);
}

void global_average_pool_backward(int64_t rows, int64_t pixels, int64_t channels, const float* dy, float* dx, const Context& context) {
  average_pool_backward({pixels, 1, channels, 1, 1, pixels, 1, 1, 1, 0, 0}, rows, dy, dx, context);
}

void pad_forward(const PadGeometry& g, int64_t rows, const float* x, float* y, const Context& context) {
  const int64_t out_h = g.in_h + g.top + g.bottom, out_w = g.in_w + g.left + g.right;
  context.pool.parallel_for(rows, [&](int64_t row) {
    float* out = y + row * out_h * out_w * g.channels;
    std::memset(out, 0, sizeof(float) * out_h * out_w * g.channels);
    for (int64_t h = 0; h < g.in_h; ++h)
      std::memcpy(out + ((h + g.top) * out_w + g.left) * g.channels, x + (row * g.in_h + h) * g.in_w * g.channels,
                  sizeof(float) * g.in_w * g.channels);
  });
}

void pad_backward(const PadGeometry& g, int64_t rows, const float* dy, float* dx, const Context& context) {
  const int64_t out_h = g.in_h + g.top + g.bottom, out_w = g.in_w + g.left + g.right;
  context.pool.parallel_for(rows, [&](int64_t row) {
    for (int64_t h = 0; h < g.in_h; ++h)
      std::memcpy(dx + (row * g.in_h + h) * g.in_w * g.channels, dy + ((row * out_h + h + g.top) * out_w + g.left) * g.channels,
                  sizeof(float) * g.in_w * g.channels);
  });
}

}  // namespace pcqat
