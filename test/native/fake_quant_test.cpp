#include <algorithm>
#include <cmath>
#include <limits>

#include "check.h"
#include "fake_quant_reference.h"
#include "ops/elementwise.h"

namespace pcqat::test {

namespace {

Outputs forward(const Kernels& kernels, const std::vector<float>& x, const std::vector<float>* b, Activation activation,
                const ActivationQuant& quant, NudgedRange* range) {
  const auto count = static_cast<int64_t>(x.size());
  return run_once(kernels, 3, elementwise_workspace(count, 3), [&](const Context& context) {
    Outputs o{std::vector<float>(x.size())};
    if (b == nullptr)
      activation_forward(count, x.data(), activation, quant, range, o[0].data(), context);
    else
      add_forward(count, x.data(), b->data(), activation, quant, range, o[0].data(), context);
    return o;
  });
}

bool same_values(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i])))) return false;
  }
  return a.size() == b.size();
}

float activate(float v, Activation a) { return a == Activation::none ? v : v < 0 ? 0.0f : a == Activation::relu6 && v > 6 ? 6.0f : v; }

void run(Checks& checks, const Kernels& kernels, Random& random, int bits, bool narrow, Activation activation, bool with_sum) {
  const float spread = static_cast<float>(std::pow(10.0, random.uniform() * 6 - 3));
  const std::vector<float> a = random.floats(random.between(1, 40000), -spread, 1.3 * spread),
                           b = random.floats(static_cast<int64_t>(a.size()), -spread, spread);
  std::vector<float> plain(a.size()), wanted(a.size()), pass(a.size());
  for (size_t i = 0; i < a.size(); ++i) plain[i] = activate(with_sum ? a[i] + b[i] : a[i], activation);
  const std::string name =
      std::string("fake quantization, ") + std::to_string(bits) + " bits" + (with_sum ? " of a sum" : "") + " on " + kernels.isa;

  float min = -0.9f * spread, max = spread;
  const ActivationQuant quant{&min, &max, {RangeUpdate::moving_average, false, narrow, bits, 0.01f}, QuantMode::update, false};
  float wanted_min = min, wanted_max = max;
  update_range(quant.rule, *std::min_element(plain.begin(), plain.end()), *std::max_element(plain.begin(), plain.end()), &wanted_min,
               &wanted_max);
  const NudgedRange nudged = nudge_range(wanted_min, wanted_max, bits, narrow);
  NudgedRange range;
  const std::vector<float> y = forward(kernels, a, with_sum ? &b : nullptr, activation, quant, &range)[0];
  for (size_t i = 0; i < a.size(); ++i) wanted[i] = quantize_reference(plain[i], nudged);
  checks.check(min == wanted_min && max == wanted_max, name + ": range");
  checks.check(same_values(y, wanted), name + ": forward, bit for bit");

  const std::vector<float> dy = random.floats(static_cast<int64_t>(a.size()));
  const Outputs gradient = run_once(kernels, 2, 0, [&](const Context& context) {
    Outputs o{std::vector<float>(a.size())};
    if (with_sum)
      add_backward(static_cast<int64_t>(a.size()), a.data(), b.data(), activation, &range, dy.data(), o[0].data(), context);
    else
      activation_backward(static_cast<int64_t>(a.size()), a.data(), activation, &range, dy.data(), o[0].data(), context);
    return o;
  });
  for (size_t i = 0; i < a.size(); ++i) {
    const float v = with_sum ? a[i] + b[i] : a[i];
    const bool active = activation == Activation::none || (v > 0 && (activation == Activation::relu || v < 6));
    pass[i] = active && plain[i] >= nudged.min && plain[i] <= nudged.max ? dy[i] : 0.0f;
  }
  checks.check(same_values(gradient[0], pass), name + ": backward");

  // Inference: the stored range, untouched.
  const ActivationQuant frozen{&min, &max, {RangeUpdate::moving_average, false, narrow, bits, 0.01f}, QuantMode::frozen, false};
  checks.check(same_values(forward(kernels, a, with_sum ? &b : nullptr, activation, frozen, nullptr)[0], wanted) && min == wanted_min &&
                   max == wanted_max,
               name + ": frozen");
  // Calibration: values pass, the range widens, or starts anew.
  const ActivationQuant reset{&min, &max, {RangeUpdate::moving_average, false, narrow, bits, 0.01f}, QuantMode::observe, true};
  checks.check(same_values(forward(kernels, a, with_sum ? &b : nullptr, activation, reset, nullptr)[0], plain),
               name + ": observe passes values");
  checks.check(min == std::min(0.0f, *std::min_element(plain.begin(), plain.end())) &&
                   max == std::max(0.0f, *std::max_element(plain.begin(), plain.end())),
               name + ": observe, reset");
  min = -1e9f;
  const ActivationQuant observe{&min, &max, {RangeUpdate::moving_average, false, narrow, bits, 0.01f}, QuantMode::observe, false};
  const float before = max;
  forward(kernels, a, with_sum ? &b : nullptr, activation, observe, nullptr);
  checks.check(min == -1e9f && max == before, name + ": observe keeps a wider range");
}

void run_special(Checks& checks, const Kernels& kernels) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> x{nan,  infinity, -infinity, 0.0f,  -0.0f, 1.0f,   -7.0f, 6.0f, 1e-40f,
                             3.0f, 0.05f,    0.1f,      -6.0f, -3.0f, 127.5f, 0.5f,  2.5f};
  const std::string name = std::string("fake quantization of special values on ") + kernels.isa;
  for (const auto& limits :
       std::vector<std::pair<float, float>>{{-6.0f, 6.0f}, {0.0f, 0.0f}, {0.0f, 1.0f}, {-3.0f, 0.0f}, {nan, 1.0f}, {-1.0f, infinity}}) {
    float min = limits.first, max = limits.second;
    const ActivationQuant quant{&min, &max, {RangeUpdate::none, false, false, 8, 0}, QuantMode::frozen, false};
    const NudgedRange nudged = nudge_range(min, max, 8, false);
    NudgedRange range;
    const std::vector<float> y = forward(kernels, x, nullptr, Activation::none, quant, &range)[0];
    std::vector<float> wanted(x.size());
    for (size_t i = 0; i < x.size(); ++i) wanted[i] = quantize_reference(x[i], nudged);
    checks.check(same_values(y, wanted), name + ": [" + std::to_string(min) + ", " + std::to_string(max) + "]");
  }
}

}  // namespace

void test_fake_quant(Checks& checks) {
  const Kernels* tables[kMostKernels];
  const int count = supported_kernels(tables);
  for (int t = 0; t < count; ++t) {
    Random random(30);
    for (int i = 0; i < 24; ++i) {
      const Activation activation = i % 3 == 0 ? Activation::none : i % 3 == 1 ? Activation::relu : Activation::relu6;
      run(checks, *tables[t], random, i % 4 == 0 ? 4 : 8, i % 5 == 0, activation, i % 2 == 1);
    }
    run_special(checks, *tables[t]);
  }
}

}  // namespace pcqat::test
