#include "ops/loss.h"

#include <algorithm>
#include <cmath>

#include "check.h"

namespace pcqat::test {

namespace {

void run_cross_entropy(Checks& checks, int64_t rows, int64_t classes, float smoothing, bool dense, Random& random) {
  const std::vector<float> z = random.floats(rows * classes, -8, 8);
  std::vector<int32_t> labels(static_cast<size_t>(rows));
  std::vector<float> targets(static_cast<size_t>(rows * classes));
  for (int64_t row = 0; row < rows; ++row) {
    labels[row] = static_cast<int32_t>(random.between(0, classes - 1));
    targets[row * classes + labels[row]] = 1;
  }
  Expected total{{0.0}, {1e-6}}, correct{{0.0}, {0.0}}, d;
  for (int64_t row = 0; row < rows; ++row) {
    const float* logits = &z[row * classes];
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(logits[c]));
    for (int64_t c = 0; c < classes; ++c) {
      const double q =
          (labels[row] == c ? 1.0 - static_cast<double>(smoothing) : 0.0) + static_cast<double>(smoothing) / static_cast<double>(classes);
      total.value[0] -= q * (static_cast<double>(logits[c]) - std::log(sum)) / static_cast<double>(rows);
      d.value.push_back((std::exp(static_cast<double>(logits[c])) / sum - q) / static_cast<double>(rows));
      d.bound.push_back(4 * kEpsilon / static_cast<double>(rows));
    }
    correct.value[0] += std::max_element(logits, logits + classes) - logits == labels[row] ? 1 : 0;
  }
  total.bound[0] = 1e-6 * (1 + std::fabs(total.value[0]));
  checks.everywhere(
      "softmax cross-entropy " + std::to_string(rows) + "x" + std::to_string(classes), [](int) { return size_t{0}; },
      [&](const Context& context) {
        Outputs o{{0}, {0}, std::vector<float>(z.size())};
        const LossResult result = softmax_cross_entropy(rows, classes, z.data(), dense ? nullptr : labels.data(),
                                                        dense ? targets.data() : nullptr, smoothing, o[2].data(), context);
        const LossResult again = softmax_cross_entropy(rows, classes, z.data(), dense ? nullptr : labels.data(),
                                                       dense ? targets.data() : nullptr, smoothing, nullptr, context);
        o[0][0] = static_cast<float>(result.loss == again.loss ? result.loss : -1);
        o[1][0] = static_cast<float>(result.correct);
        return o;
      },
      {total, correct, d});
}

void run_squared_error(Checks& checks, int64_t rows, int64_t width, Random& random) {
  const std::vector<float> prediction = random.floats(rows * width), target = random.floats(rows * width);
  Expected total{{0.0}, {1e-6}}, d;
  for (size_t i = 0; i < prediction.size(); ++i) {
    const double difference = static_cast<double>(prediction[i]) - static_cast<double>(target[i]),
                 n = static_cast<double>(prediction.size());
    total.value[0] += difference * difference / n;
    d.value.push_back(2 * difference / n);
    d.bound.push_back(4 * kEpsilon / n);
  }
  checks.everywhere(
      "mean squared error", [](int) { return size_t{0}; },
      [&](const Context& context) {
        Outputs o{{0}, std::vector<float>(prediction.size())};
        o[0][0] = static_cast<float>(mean_squared_error(rows, width, prediction.data(), target.data(), o[1].data(), context).loss);
        return o;
      },
      {total, d});
}

}  // namespace

void test_loss(Checks& checks) {
  Random random(60);
  run_cross_entropy(checks, 1, 2, 0, false, random);
  run_cross_entropy(checks, 100, 12, 0, false, random);
  run_cross_entropy(checks, 100, 12, 0.1f, true, random);
  run_cross_entropy(checks, 33, 1000, 0.05f, false, random);
  run_squared_error(checks, 1, 1, random);
  run_squared_error(checks, 97, 301, random);
}

}  // namespace pcqat::test
