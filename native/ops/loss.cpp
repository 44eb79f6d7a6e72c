#include "ops/loss.h"

#include <algorithm>
#include <cmath>

#include "ops/chunks.h"
#include "parallel/thread_pool.h"

namespace pcqat {

namespace {

// Of row-wise partial results, in chunk order.
LossResult total_of(const LossResult* partials, int64_t count) {
  LossResult total;
  for (int64_t i = 0; i < count; ++i) {
    total.loss += partials[i].loss;
    total.correct += partials[i].correct;
  }
  return total;
}

int64_t argmax(const float* values, int64_t count) { return std::max_element(values, values + count) - values; }

// Labels of one row: a class or a distribution, smoothed.
struct Target {
  int64_t label;
  const float* distribution;  // null: label
  float kept, uniform;
  float operator()(int64_t c) const { return kept * (distribution != nullptr ? distribution[c] : label == c ? 1.0f : 0.0f) + uniform; }
};

// The loss of one row, and d = its gradient times `scale` unless d is null.
double cross_entropy_row(int64_t classes, const float* z, const Target& target, double scale, float* d) {
  const float top = *std::max_element(z, z + classes);
  double sum = 0, mass = 0;
  for (int64_t c = 0; c < classes; ++c) {
    sum += std::exp(static_cast<double>(z[c] - top));
    mass += static_cast<double>(target(c));
  }
  const double log_sum = std::log(sum);
  double loss = 0;
  for (int64_t c = 0; c < classes; ++c) {
    const double shifted = static_cast<double>(z[c] - top), wanted = static_cast<double>(target(c));
    loss -= wanted * (shifted - log_sum);
    if (d != nullptr) d[c] = static_cast<float>((mass * std::exp(shifted) / sum - wanted) * scale);
  }
  return loss;
}

}  // namespace

LossResult softmax_cross_entropy(int64_t rows, int64_t classes, const float* logits, const int32_t* labels, const float* targets,
                                 float label_smoothing, float* d_logits, const Context& context) {
  LossResult partials[kMaxChunks];
  const float kept = 1.0f - label_smoothing, uniform = label_smoothing / static_cast<float>(classes);
  const Chunks chunks = chunks_of(rows, 2048 / classes + 1);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const int64_t at = row * classes;
      const Target target{labels != nullptr ? labels[row] : 0, labels != nullptr ? nullptr : targets + at, kept, uniform};
      partials[chunk].loss +=
          cross_entropy_row(classes, logits + at, target, 1.0 / static_cast<double>(rows), d_logits == nullptr ? nullptr : d_logits + at);
      const int64_t actual = labels != nullptr ? labels[row] : argmax(targets + at, classes);
      partials[chunk].correct += argmax(logits + at, classes) == actual ? 1 : 0;
    }
  });
  LossResult total = total_of(partials, chunks.count);
  total.loss /= static_cast<double>(rows);
  return total;
}

LossResult mean_squared_error(int64_t rows, int64_t width, const float* prediction, const float* target, float* d_prediction,
                              const Context& context) {
  LossResult partials[kMaxChunks];
  const double count = static_cast<double>(rows * width);
  const Chunks chunks = chunks_of(rows * width, kChunkElements);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) {
      const double difference = static_cast<double>(prediction[i]) - static_cast<double>(target[i]);
      partials[chunk].loss += difference * difference;
      if (d_prediction != nullptr) d_prediction[i] = static_cast<float>(2.0 * difference / count);
    }
  });
  LossResult total = total_of(partials, chunks.count);
  total.loss /= count;
  return total;
}

}  // namespace pcqat
