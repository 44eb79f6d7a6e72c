#include "ops/elementwise.h"

#include <algorithm>
#include <cmath>

#include "ops/activation_range.h"
#include "ops/philox.h"
#include "ops/scalar.h"
#include "parallel/thread_pool.h"

namespace pcqat {

size_t elementwise_workspace(int64_t, int) { return 0; }

void activation_forward(int64_t count, const float* x, Activation activation, const ActivationQuant& quant, NudgedRange* range, float* y,
                        const Context&) {
  NudgedRange local;
  for (int64_t i = 0; i < count; ++i) y[i] = activate(x[i], activation);
  quantize_in_place(count, y, quant, range ? range : &local);
}

void activation_backward(int64_t count, const float* x, Activation activation, const NudgedRange* range, const float* dy, float* dx,
                         const Context&) {
  for (int64_t i = 0; i < count; ++i)
    dx[i] = activation_passes(x[i], activation) && quantize_passes(activate(x[i], activation), range) ? dy[i] : 0.0f;
}

void activation_backward_from_output(int64_t count, const float* y, Activation activation, const float* dy, float* dx, const Context&) {
  for (int64_t i = 0; i < count; ++i) dx[i] = activation_passes(y[i], activation) ? dy[i] : 0.0f;
}

void add_forward(int64_t count, const float* a, const float* b, Activation activation, const ActivationQuant& quant, NudgedRange* range,
                 float* y, const Context&) {
  NudgedRange local;
  for (int64_t i = 0; i < count; ++i) y[i] = activate(a[i] + b[i], activation);
  quantize_in_place(count, y, quant, range ? range : &local);
}

void add_backward(int64_t count, const float* a, const float* b, Activation activation, const NudgedRange* range, const float* dy, float* d,
                  const Context&) {
  for (int64_t i = 0; i < count; ++i) {
    const float v = a[i] + b[i];
    d[i] = activation_passes(v, activation) && quantize_passes(activate(v, activation), range) ? dy[i] : 0.0f;
  }
}

void accumulate(int64_t count, const float* term, float* sum, const Context&) {
  for (int64_t i = 0; i < count; ++i) sum[i] += term[i];
}

void dropout(int64_t count, float rate, const DropoutKey& key, const float* x, float* y, const Context&) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = philox4x32(key.seed, key.step, key.instruction, static_cast<uint32_t>(i / 4)).word[i % 4];
    y[i] = static_cast<float>(bits >> 8) * 0x1p-24f >= rate ? x[i] / (1 - rate) : 0.0f;
  }
}

void softmax_forward(int64_t rows, int64_t classes, const float* x, float* y, const Context&) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = x + row * classes;
    float* out = y + row * classes;
    const float top = *std::max_element(in, in + classes);
    float sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += out[c] = std::exp(in[c] - top);
    for (int64_t c = 0; c < classes; ++c) out[c] /= sum;
  }
}

void softmax_backward(int64_t rows, int64_t classes, const float* y, const float* dy, float* dx, const Context&) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* out = y + row * classes;
    const float* d = dy + row * classes;
    float dot = 0;
    for (int64_t c = 0; c < classes; ++c) dot += out[c] * d[c];
    for (int64_t c = 0; c < classes; ++c) dx[row * classes + c] = out[c] * (d[c] - dot);
  }
}

int64_t find_non_finite(int64_t count, const float* x, const Context&) {
  for (int64_t i = 0; i < count; ++i)
    if (!std::isfinite(x[i])) return i;
  return -1;
}

double sum_of_squares(int64_t count, const float* x, const Context&) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

}  // namespace pcqat
