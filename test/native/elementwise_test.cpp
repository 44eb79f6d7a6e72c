#include "ops/elementwise.h"

#include <cmath>
#include <limits>

#include "check.h"
#include "philox4x32.h"

namespace pcqat::test {

namespace {

Expected exactly(const std::vector<float>& values) {
  return {std::vector<double>(values.begin(), values.end()), std::vector<double>(values.size(), 0.0)};
}

size_t no_workspace(int) { return 0; }

void run_activations(Checks& checks, int64_t count, Random& random) {
  const std::vector<float> x = random.floats(count, -4, 10), b = random.floats(count), dy = random.floats(count);
  for (const Activation activation : {Activation::none, Activation::relu, Activation::relu6}) {
    std::vector<float> y(x), dx(dy), sum(x), d_sum(dy), accumulated(x);
    const auto apply = [&](float v) {
      return activation == Activation::none ? v : v < 0 ? 0.0f : activation == Activation::relu6 && v > 6 ? 6.0f : v;
    };
    const auto pass = [&](float v) { return activation == Activation::none || (v > 0 && (activation == Activation::relu || v < 6)); };
    for (size_t i = 0; i < x.size(); ++i) {
      y[i] = apply(x[i]);
      dx[i] = pass(x[i]) ? dy[i] : 0.0f;
      sum[i] = apply(x[i] + b[i]);
      d_sum[i] = pass(x[i] + b[i]) ? dy[i] : 0.0f;
      accumulated[i] = x[i] + b[i];
    }
    checks.everywhere("activation " + std::to_string(static_cast<int>(activation)) + " of " + std::to_string(count), no_workspace,
                      [&](const Context& context) {
                        Outputs o{x, dy, std::vector<float>(x.size()), dy, std::vector<float>(x.size()), x};
                        activation_forward(count, o[0].data(), activation, {}, nullptr, o[0].data(), context);  // in place
                        activation_backward(count, x.data(), activation, nullptr, o[1].data(), o[1].data(), context);
                        activation_backward_from_output(count, y.data(), activation, dy.data(), o[2].data(), context);
                        add_backward(count, x.data(), b.data(), activation, nullptr, o[3].data(), o[3].data(), context);
                        add_forward(count, x.data(), b.data(), activation, {}, nullptr, o[4].data(), context);
                        accumulate(count, b.data(), o[5].data(), context);
                        return o;
                      },
                      {exactly(y), exactly(dx), exactly(dx), exactly(d_sum), exactly(sum), exactly(accumulated)});
  }
}

void run_dropout(Checks& checks) {
  // Known answers of the Random123 distribution.
  const PhiloxBlock zeros = philox4x32(0, 0, 0, 0), ones = philox4x32(~uint64_t{0}, ~uint64_t{0}, ~uint32_t{0}, ~uint32_t{0});
  checks.check(zeros.word[0] == 0x6627e8d5 && zeros.word[1] == 0xe169c58d && zeros.word[2] == 0xbc57ac4c && zeros.word[3] == 0x9b00dbd8,
               "philox: zeros");
  checks.check(ones.word[0] == 0x408f276d && ones.word[1] == 0x41c83b0e && ones.word[2] == 0xa20bc7c6 && ones.word[3] == 0x6d5451fd,
               "philox: ones");
  const int64_t count = 100003;
  const std::vector<float> x(static_cast<size_t>(count), 3.0f);
  for (const float rate : {0.0f, 0.1f, 0.5f, 0.9f}) {
    const auto mask = [&](const DropoutKey& key) {
      return [&, key](const Context& context) {
        Outputs o{std::vector<float>(x.size())};
        dropout(count, rate, key, x.data(), o[0].data(), context);
        return o;
      };
    };
    std::vector<float> wanted(x.size());
    int64_t kept = 0;
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t bits = philox4x32(7, 5, 3, static_cast<uint32_t>(i / 4)).word[i % 4];
      const bool keep = static_cast<float>(bits >> 8) * 0x1p-24f >= rate;
      wanted[i] = keep ? 3.0f / (1 - rate) : 0.0f;
      kept += keep ? 1 : 0;
    }
    const Outputs first = checks.everywhere("dropout " + std::to_string(rate), no_workspace, mask({7, 5, 3}), {exactly(wanted)});
    const double n = static_cast<double>(count), p = 1 - static_cast<double>(rate);
    checks.check(std::fabs(static_cast<double>(kept) - n * p) <= 5 * std::sqrt(n * p * (1 - p)), "dropout: fraction kept within 5 sigma");
    if (rate == 0.0f) continue;
    for (const DropoutKey& key : {DropoutKey{8, 5, 3}, DropoutKey{7, 6, 3}, DropoutKey{7, 5, 4}}) {
      checks.check(run_once(*find_kernels(nullptr), 1, 0, mask(key)) != first, "dropout: another key, another mask");
    }
  }
}

void run_softmax(Checks& checks, int64_t rows, int64_t classes, Random& random) {
  const std::vector<float> x = random.floats(rows * classes, -20, 20), dy = random.floats(rows * classes);
  Expected y, dx;
  for (int64_t row = 0; row < rows; ++row) {
    double top = -1e300, sum = 0, dot = 0, magnitude = 0;
    for (int64_t c = 0; c < classes; ++c) top = std::max(top, static_cast<double>(x[row * classes + c]));
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(x[row * classes + c]) - top);
    const auto softmax = [&](int64_t c) { return std::exp(static_cast<double>(x[row * classes + c]) - top) / sum; };
    for (int64_t c = 0; c < classes; ++c) {
      dot += softmax(c) * static_cast<double>(dy[row * classes + c]);
      magnitude += softmax(c) * std::fabs(static_cast<double>(dy[row * classes + c]));
    }
    const double relative = sum_bound(static_cast<double>(classes), 1) + 80 * kEpsilon;  // exponents up to 40 are rounded first
    for (int64_t c = 0; c < classes; ++c) {
      const double d = static_cast<double>(dy[row * classes + c]);
      y.value.push_back(softmax(c));
      y.bound.push_back(relative * softmax(c) + 1e-37);
      dx.value.push_back(softmax(c) * (d - dot));
      dx.bound.push_back(4 * relative * softmax(c) * (std::fabs(d) + magnitude) + 1e-37);
    }
  }
  checks.everywhere("softmax " + std::to_string(rows) + "x" + std::to_string(classes), no_workspace,
                    [&](const Context& context) {
                      Outputs o{std::vector<float>(x.size()), std::vector<float>(x.size())};
                      softmax_forward(rows, classes, x.data(), o[0].data(), context);
                      softmax_backward(rows, classes, o[0].data(), dy.data(), o[1].data(), context);
                      return o;
                    },
                    {y, dx});
}

void run_checks_and_sums(Checks& checks, Random& random) {
  const Kernels* tables[kMostKernels];
  const int count = supported_kernels(tables);
  for (const int64_t size : {1, 5, 16, 63, 1000, 100001}) {
    std::vector<float> x = random.floats(size, -1e3, 1e3);
    x[0] = std::numeric_limits<float>::max();  // large is not infinite
    double sum = 0;
    for (const float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
    for (int t = 0; t < count; ++t) {
      for (int threads : {1, 2, 4}) {
        ThreadPool pool(threads);
        const Context context{*tables[t], pool, nullptr};
        const std::string name = std::string(" of ") + std::to_string(size) + " on " + tables[t]->isa;
        checks.check(find_non_finite(size, x.data(), context) == -1, "find_non_finite: all finite" + name);
        for (const float bad :
             {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
          std::vector<float> with(x);
          const int64_t at = random.between(0, size - 1);
          with[at] = bad;
          with[size - 1] = bad;
          checks.check(find_non_finite(size, with.data(), context) == at, "find_non_finite: first" + name);
        }
        checks.check(!is_within(1e18f, size, x.data(), context), "is_within: too large" + name);
        x[0] = 1;
        checks.check(is_within(1e18f, size, x.data(), context), "is_within: small" + name);
        for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(), -1.1e18f}) {
          std::vector<float> with(x);
          with[random.between(0, size - 1)] = bad;
          checks.check(!is_within(1e18f, size, with.data(), context), "is_within: not" + name);
        }
        double small =
            sum - static_cast<double>(std::numeric_limits<float>::max()) * static_cast<double>(std::numeric_limits<float>::max());
        small = 0;
        for (const float v : x) small += static_cast<double>(v) * static_cast<double>(v);
        checks.check(std::fabs(sum_of_squares(size, x.data(), context) - small) <= 1e-5 * small, "sum of squares" + name);
        x[0] = std::numeric_limits<float>::max();
      }
    }
  }
}

}  // namespace

void test_elementwise(Checks& checks) {
  Random random(40);
  for (const int64_t count : {1, 3, 15, 16, 17, 100, 40001}) run_activations(checks, count, random);
  run_dropout(checks);
  run_softmax(checks, 1, 1, random);
  run_softmax(checks, 37, 12, random);
  run_softmax(checks, 5, 1001, random);
  run_checks_and_sums(checks, random);
}

}  // namespace pcqat::test
