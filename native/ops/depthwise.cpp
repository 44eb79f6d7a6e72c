#include <cstring>

#include "ops/conv.h"
#include "ops/scalar.h"
#include "parallel/thread_pool.h"

namespace pcqat {

size_t depthwise_workspace(const ConvGeometry&, int64_t, int) { return 0; }

void depthwise_forward(const ConvGeometry& g, int64_t rows, const float* x, const float* kernel, const float* bias, Activation activation,
                       float* y, const Context& context) {
  const int64_t multiplier = g.out_c / g.in_c;
  context.pool.parallel_for(rows * g.out_h, [&](int64_t chunk) {
    const int64_t row = chunk / g.out_h, oh = chunk % g.out_h;
    for (int64_t ow = 0; ow < g.out_w; ++ow) {
      float* out = y + ((row * g.out_h + oh) * g.out_w + ow) * g.out_c;
      for (int64_t oc = 0; oc < g.out_c; ++oc) out[oc] = bias ? bias[oc] : 0.0f;
      for (int64_t kh = 0; kh < g.kernel_h; ++kh) {
        const int64_t ih = oh * g.stride_h - g.pad_top + kh * g.dilation_h;
        if (ih < 0 || ih >= g.in_h) continue;
        for (int64_t kw = 0; kw < g.kernel_w; ++kw) {
          const int64_t iw = ow * g.stride_w - g.pad_left + kw * g.dilation_w;
          if (iw < 0 || iw >= g.in_w) continue;
          const float* in = x + ((row * g.in_h + ih) * g.in_w + iw) * g.in_c;
          const float* w = kernel + (kh * g.kernel_w + kw) * g.out_c;
          for (int64_t oc = 0; oc < g.out_c; ++oc) out[oc] += in[oc / multiplier] * w[oc];
        }
      }
      for (int64_t oc = 0; oc < g.out_c; ++oc) out[oc] = activate(out[oc], activation);
    }
  });
}

void depthwise_backward_input(const ConvGeometry& g, int64_t rows, const float* dy, const float* kernel, float* dx, const Context& context) {
  const int64_t multiplier = g.out_c / g.in_c;
  context.pool.parallel_for(rows, [&](int64_t row) {
    std::memset(dx + row * g.in_h * g.in_w * g.in_c, 0, sizeof(float) * g.in_h * g.in_w * g.in_c);
    for (int64_t oh = 0; oh < g.out_h; ++oh) {
      for (int64_t ow = 0; ow < g.out_w; ++ow) {
        const float* out = dy + ((row * g.out_h + oh) * g.out_w + ow) * g.out_c;
        for (int64_t kh = 0; kh < g.kernel_h; ++kh) {
          const int64_t ih = oh * g.stride_h - g.pad_top + kh * g.dilation_h;
          if (ih < 0 || ih >= g.in_h) continue;
          for (int64_t kw = 0; kw < g.kernel_w; ++kw) {
            const int64_t iw = ow * g.stride_w - g.pad_left + kw * g.dilation_w;
            if (iw < 0 || iw >= g.in_w) continue;
            float* in = dx + ((row * g.in_h + ih) * g.in_w + iw) * g.in_c;
            const float* w = kernel + (kh * g.kernel_w + kw) * g.out_c;
            for (int64_t oc = 0; oc < g.out_c; ++oc) in[oc / multiplier] += out[oc] * w[oc];
          }
        }
      }
    }
  });
}

void depthwise_backward_kernel(const ConvGeometry& g, int64_t rows, const float* x, const float* dy, float* d_kernel, float* d_bias,
                               const Context& context) {
  const int64_t multiplier = g.out_c / g.in_c;
  context.pool.parallel_for(g.kernel_h * g.kernel_w + 1, [&](int64_t tap) {
    if (tap == g.kernel_h * g.kernel_w) {
      if (!d_bias) return;
      for (int64_t oc = 0; oc < g.out_c; ++oc) d_bias[oc] = 0;
      for (int64_t i = 0; i < rows * g.out_h * g.out_w; ++i)
        for (int64_t oc = 0; oc < g.out_c; ++oc) d_bias[oc] += dy[i * g.out_c + oc];
      return;
    }
    const int64_t kh = tap / g.kernel_w, kw = tap % g.kernel_w;
    float* dk = d_kernel + tap * g.out_c;
    std::memset(dk, 0, sizeof(float) * g.out_c);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t oh = 0; oh < g.out_h; ++oh) {
        const int64_t ih = oh * g.stride_h - g.pad_top + kh * g.dilation_h;
        if (ih < 0 || ih >= g.in_h) continue;
        for (int64_t ow = 0; ow < g.out_w; ++ow) {
          const int64_t iw = ow * g.stride_w - g.pad_left + kw * g.dilation_w;
          if (iw < 0 || iw >= g.in_w) continue;
          const float* out = dy + ((row * g.out_h + oh) * g.out_w + ow) * g.out_c;
          const float* in = x + ((row * g.in_h + ih) * g.in_w + iw) * g.in_c;
          for (int64_t oc = 0; oc < g.out_c; ++oc) dk[oc] += in[oc / multiplier] * out[oc];
        }
      }
    }
  });
}

}  // namespace pcqat
