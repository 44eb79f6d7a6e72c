// Upsampling of images by whole factors. NHWC.
#pragma once

#include "ops/common.h"

namespace pcqat {

struct UpSampleGeometry {
  int64_t in_h, in_w, channels;
  int64_t factor_h, factor_w;
  bool bilinear;  // between half-pixel centres (TensorFlow 2's tf.image.resize); otherwise nearest
};

void upsample_forward(const UpSampleGeometry& g, int64_t rows, const float* x, float* y, const Context& context);
void upsample_backward(const UpSampleGeometry& g, int64_t rows, const float* dy, float* dx, const Context& context);

}  // namespace pcqat
