#include "ops/norm.h"

#include <algorithm>
#include <cmath>

#include "check.h"
#include "fake_quant_reference.h"

namespace pcqat::test {

namespace {

struct Case {
  int64_t count, channels;
  Activation activation;
  double mean;  // of x, large ones make a careless variance wrong
};

struct Data {
  std::vector<float> x, dy, gamma, beta, moving_mean, moving_variance;
};

constexpr float kVarianceEpsilon = 1e-3f;
constexpr double kMomentum = 0.99;

Data data_of(const Case& c, Random& random) {
  return {random.floats(c.count * c.channels, c.mean - 1, c.mean + 1),
          random.floats(c.count * c.channels),
          random.floats(c.channels, -1.5, 1.5),
          random.floats(c.channels, -1, 3),
          random.floats(c.channels),
          random.floats(c.channels, 0.5, 2)};
}

double activate(double v, Activation a) {
  return a == Activation::none ? v : std::min(std::max(v, 0.0), a == Activation::relu6 ? 6.0 : 1e300);
}
bool passes(double v, Activation a) { return a == Activation::none || (v > 0 && (a == Activation::relu || v < 6)); }

void expect(Expected& e, double value, double bound) {
  e.value.push_back(value);
  e.bound.push_back(bound);
}

// Element-wise results are sums of a few terms with errors relative to |x - mean|'s and the mean's magnitude.
void run(Checks& checks, const Case& c, Random& random) {
  const Data d = data_of(c, random);
  const int64_t n = c.count, channels = c.channels;
  Expected y, saved, mean_after, variance_after, dx, dgamma, dbeta;
  for (Expected* e : {&y, &dx}) {
    e->value.resize(static_cast<size_t>(n * channels));
    e->bound.resize(static_cast<size_t>(n * channels));
  }
  std::vector<double> inverses;
  for (int64_t ch = 0; ch < channels; ++ch) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(d.x[i * channels + ch]);
    const double mean = sum / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) squares += std::pow(static_cast<double>(d.x[i * channels + ch]) - mean, 2);
    const double variance = squares / static_cast<double>(n), inverse = 1 / std::sqrt(variance + static_cast<double>(kVarianceEpsilon));
    // f32 rounding of x - shift: relative to the spread; of the saved mean: relative to the mean.
    const double size = std::fabs(c.mean) + 1, relative = 16 * kEpsilon, from_mean = 4 * kEpsilon * size;
    expect(saved, mean, 2 * kEpsilon * size);
    inverses.push_back(inverse);
    const double unbiased = squares / static_cast<double>(std::max<int64_t>(n - 1, 1));
    const double rate = static_cast<double>(static_cast<float>(1 - kMomentum));
    const double old_mean = d.moving_mean[ch], old_variance = d.moving_variance[ch];
    expect(mean_after, old_mean - (old_mean - mean) * rate, 4 * kEpsilon * size);
    expect(variance_after, old_variance - (old_variance - unbiased) * rate, 16 * kEpsilon * (std::fabs(old_variance) + unbiased));
    const double gamma = d.gamma[ch], beta = d.beta[ch], scale = gamma * inverse;
    double sum_g = 0, sum_gx = 0, magnitude = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = i * channels + ch;
      const double normalized = (static_cast<double>(d.x[at]) - mean) * inverse, v = normalized * gamma + beta;
      y.value[at] = activate(v, c.activation);
      y.bound[at] =
          (relative * 4 + from_mean * inverse) * std::fabs(gamma) + relative * std::fabs(beta) + 4 * kEpsilon * std::fabs(scale) * size;
      const double g = passes(v, c.activation) ? static_cast<double>(d.dy[at]) : 0.0;
      sum_g += g;
      sum_gx += g * normalized;
      magnitude += std::fabs(g) * (1 + std::fabs(normalized));
    }
    // An element within rounding distance of an activation's edge may fall on either side of it.
    double doubtful = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = i * channels + ch;
      const double v = (static_cast<double>(d.x[at]) - mean) * scale + beta;
      const bool edge = c.activation != Activation::none && (std::fabs(v) < y.bound[at] || std::fabs(v - 6) < y.bound[at]);
      if (edge) doubtful += 1 + std::fabs((static_cast<double>(d.x[at]) - mean) * inverse);
    }
    const double sum_error = sum_bound(static_cast<double>(n), magnitude) + from_mean * inverse * magnitude + doubtful;
    expect(dbeta, sum_g, sum_error);
    expect(dgamma, sum_gx, sum_error);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = i * channels + ch;
      const double normalized = (static_cast<double>(d.x[at]) - mean) * inverse, v = normalized * gamma + beta;
      const bool edge = c.activation != Activation::none && (std::fabs(v) < y.bound[at] || std::fabs(v - 6) < y.bound[at]);
      const double g = passes(v, c.activation) ? static_cast<double>(d.dy[at]) : 0.0;
      dx.value[at] = scale * (g - sum_g / static_cast<double>(n) - normalized * sum_gx / static_cast<double>(n));
      dx.bound[at] = std::fabs(scale) * ((edge ? 1 : 0) + (32 * kEpsilon + from_mean * inverse) * 4 +
                                         (1 + std::fabs(normalized)) * sum_error / static_cast<double>(n));
    }
  }
  for (const double inverse : inverses) expect(saved, inverse, 16 * kEpsilon * inverse);
  const std::string name = "batch norm " + std::to_string(n) + "x" + std::to_string(channels) + " mean " + std::to_string(c.mean);
  checks.everywhere(
      name, [&](int threads) { return batch_norm_workspace(channels, n, threads); },
      [&](const Context& context) {
        const auto size = static_cast<size_t>(n * channels), ch = static_cast<size_t>(channels);
        Outputs o{std::vector<float>(size), std::vector<float>(2 * ch), d.moving_mean,         d.moving_variance,
                  std::vector<float>(size), std::vector<float>(ch),     std::vector<float>(ch)};
        const BatchNormParameters p{channels, kVarianceEpsilon, kMomentum, d.gamma.data(), d.beta.data(), o[2].data(), o[3].data()};
        std::vector<float> kept(kNormSaved * ch);
        const NormOutput output = batch_norm_forward_training(p, n, d.x.data(), nullptr, c.activation, {}, kept.data(), nullptr, context);
        norm_output_all(output, n, o[0].data(), context);
        std::copy_n(kept.begin(), o[1].size(), o[1].begin());
        const NormSums sums = norm_sums(output, c.activation, nullptr, kept.data(), nullptr, nullptr);
        const NormGradient gradient = batch_norm_backward(sums, n, kept.data(), d.dy.data(), o[5].data(), o[6].data(), context);
        // In place, as the executor does it.
        o[4] = d.dy;
        norm_gradient_all(gradient, n, o[4].data(), o[4].data(), context);
        return o;
      },
      {y, saved, mean_after, variance_after, dx, dgamma, dbeta});
}

// Fake quantization fused into the pass must give, bit for bit, what quantizing the un-quantized output gives, with the
// range of that output.
void run_quantized(Checks& checks, const Case& c, Random& random) {
  const Data d = data_of(c, random);
  const int64_t size = c.count * c.channels;
  const Kernels* tables[kMostKernels];
  const int count = supported_kernels(tables);
  for (int t = 0; t < count; ++t) {
    const std::string name = std::string("batch norm with fake quantization on ") + tables[t]->isa;
    std::vector<float> saved(static_cast<size_t>(kNormSaved * c.channels)), moving_mean = d.moving_mean,
                                                                            moving_variance = d.moving_variance;
    float min = -0.5f, max = 2.5f;
    NudgedRange range;
    NormOutput output;
    const ActivationQuant quant{&min, &max, {RangeUpdate::moving_average, false, false, 8, 0.01f}, QuantMode::update, false};
    const auto forward = [&](const ActivationQuant& q) {
      return run_once(*tables[t], 2, batch_norm_workspace(c.channels, c.count, 2), [&](const Context& context) {
        Outputs o{std::vector<float>(static_cast<size_t>(size))};
        const BatchNormParameters p{c.channels,         kVarianceEpsilon,      kMomentum, d.gamma.data(), d.beta.data(),
                                    moving_mean.data(), moving_variance.data()};
        output = batch_norm_forward_training(p, c.count, d.x.data(), nullptr, c.activation, q, saved.data(), &range, context);
        norm_output_all(output, c.count, o[0].data(), context);
        return o;
      })[0];
    };
    const std::vector<float> plain = forward({}), quantized = forward(quant);
    float wanted_min = -0.5f, wanted_max = 2.5f;
    update_range(quant.rule, *std::min_element(plain.begin(), plain.end()), *std::max_element(plain.begin(), plain.end()), &wanted_min,
                 &wanted_max);
    checks.check(min == wanted_min && max == wanted_max, name + ": range");
    const NudgedRange wanted_range = nudge_range(wanted_min, wanted_max, 8, false);
    bool same = true;
    for (int64_t i = 0; i < size; ++i) same = same && quantized[i] == quantize_reference(plain[i], wanted_range);
    checks.check(same, name + ": values");
    // Backward masks: only the gradient of unmasked elements reaches beta.
    const Outputs gradients = run_once(*tables[t], 2, batch_norm_workspace(c.channels, c.count, 2), [&](const Context& context) {
      Outputs o{std::vector<float>(static_cast<size_t>(size)), std::vector<float>(static_cast<size_t>(c.channels)),
                std::vector<float>(static_cast<size_t>(c.channels))};
      const NormSums sums = norm_sums(output, c.activation, &range, saved.data(), nullptr, nullptr);
      const NormGradient gradient = batch_norm_backward(sums, c.count, saved.data(), d.dy.data(), o[1].data(), o[2].data(), context);
      norm_gradient_all(gradient, c.count, d.dy.data(), o[0].data(), context);
      return o;
    });
    for (int64_t ch = 0; ch < c.channels; ++ch) {
      double sum = 0, magnitude = 0;
      for (int64_t i = ch; i < size; i += c.channels) {
        const bool pass =
            plain[i] >= wanted_range.min && plain[i] <= wanted_range.max && passes(static_cast<double>(plain[i]), c.activation);
        sum += pass ? static_cast<double>(d.dy[i]) : 0.0;
        magnitude += std::fabs(static_cast<double>(d.dy[i]));
      }
      same = same && std::fabs(static_cast<double>(gradients[2][ch]) - sum) <= sum_bound(static_cast<double>(c.count), magnitude);
    }
    checks.check(same, name + ": gradient mask");
  }
}

void run_inference(Checks& checks, const Case& c, Random& random) {
  const Data d = data_of(c, random);
  Expected y;
  for (size_t i = 0; i < d.x.size(); ++i) {
    const size_t ch = i % static_cast<size_t>(c.channels);
    const double scale =
        static_cast<double>(d.gamma[ch]) / std::sqrt(static_cast<double>(d.moving_variance[ch]) + static_cast<double>(kVarianceEpsilon));
    const double v = (static_cast<double>(d.x[i]) - static_cast<double>(d.moving_mean[ch])) * scale + static_cast<double>(d.beta[ch]);
    expect(y, activate(v, c.activation),
           16 * kEpsilon * (std::fabs(scale) * (std::fabs(c.mean) + 2) + std::fabs(static_cast<double>(d.beta[ch]))));
  }
  checks.everywhere(
      "batch norm inference", [&](int threads) { return batch_norm_workspace(c.channels, c.count, threads); },
      [&](const Context& context) {
        Outputs o{std::vector<float>(d.x.size())};
        std::vector<float> mean = d.moving_mean, variance = d.moving_variance;
        const BatchNormParameters p{c.channels, kVarianceEpsilon, kMomentum, d.gamma.data(), d.beta.data(), mean.data(), variance.data()};
        batch_norm_forward_inference(p, c.count, d.x.data(), c.activation, {}, nullptr, o[0].data(), context);
        return o;
      },
      {y});
}

}  // namespace

void test_norm(Checks& checks) {
  Random random(20);
  run(checks, {1, 3, Activation::none, 0}, random);
  run(checks, {2, 16, Activation::none, 0}, random);
  run(checks, {1000, 64, Activation::relu, 0}, random);
  run(checks, {3001, 8, Activation::relu6, 0.5}, random);
  run(checks, {257, 77, Activation::relu, 1}, random);
  run(checks, {5000, 19, Activation::none, 100}, random);
  run(checks, {500, 276, Activation::relu, -3}, random);
  run_quantized(checks, {700, 37, Activation::relu, 0}, random);
  run_quantized(checks, {300, 64, Activation::none, 1}, random);
  run_quantized(checks, {300, 24, Activation::relu6, 1}, random);
  run_inference(checks, {200, 37, Activation::relu, 0.3}, random);
}

}  // namespace pcqat::test
