#include "ops/loss.h"

#include <algorithm>
#include <cmath>

namespace pcqat {

LossResult softmax_cross_entropy(int64_t rows, int64_t classes, const float* logits, const int32_t* labels, const float* targets,
                                 float label_smoothing, float* d_logits, const Context&) {
  LossResult result;
  const float uniform = label_smoothing / static_cast<float>(classes);
  for (int64_t row = 0; row < rows; ++row) {
    const float* z = logits + row * classes;
    const float top = *std::max_element(z, z + classes);
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(z[c] - top));
    const double log_sum = std::log(sum);
    double loss = 0, mass = 0;
    const auto target = [&](int64_t c) {
      return (1.0f - label_smoothing) * (labels ? (labels[row] == c ? 1.0f : 0.0f) : targets[row * classes + c]) + uniform;
    };
    for (int64_t c = 0; c < classes; ++c) {
      loss -= target(c) * (z[c] - top - log_sum);
      mass += target(c);
    }
    result.loss += loss;
    if (d_logits) {
      for (int64_t c = 0; c < classes; ++c)
        d_logits[row * classes + c] = static_cast<float>((mass * std::exp(static_cast<double>(z[c] - top)) / sum - target(c)) / rows);
    }
    const int64_t predicted = std::max_element(z, z + classes) - z;
    const int64_t actual = labels ? labels[row] : std::max_element(targets + row * classes, targets + (row + 1) * classes) - (targets + row * classes);
    result.correct += predicted == actual;
  }
  result.loss /= rows;
  return result;
}

LossResult mean_squared_error(int64_t rows, int64_t width, const float* prediction, const float* target, float* d_prediction,
                              const Context&) {
  LossResult result;
  const double count = static_cast<double>(rows * width);
  for (int64_t i = 0; i < rows * width; ++i) {
    const float difference = prediction[i] - target[i];
    result.loss += static_cast<double>(difference) * difference;
    if (d_prediction) d_prediction[i] = static_cast<float>(2.0 * difference / count);
  }
  result.loss /= count;
  return result;
}

}  // namespace pcqat
