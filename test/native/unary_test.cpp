#include "ops/unary.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"
#include "ops/elementwise.h"

namespace pcqat::test {

namespace {

double value_of(UnaryFunction function, double alpha, double x) {
  switch (function) {
    case UnaryFunction::sigmoid: return 1 / (1 + std::exp(-x));
    case UnaryFunction::tanh: return std::tanh(x);
    case UnaryFunction::hard_swish: return x * (std::min(std::max(x + 3, 0.0), 6.0) / 6);
    case UnaryFunction::leaky_relu: return x < 0 ? alpha * x : x;
  }
  return 0;
}

double slope_of(UnaryFunction function, double alpha, double x) {
  switch (function) {
    case UnaryFunction::sigmoid: {
      const double e = std::exp(-std::fabs(x));
      return e / ((1 + e) * (1 + e));
    }
    case UnaryFunction::tanh: {
      const double e = std::exp(-2 * std::fabs(x));
      return 4 * e / ((1 + e) * (1 + e));
    }
    case UnaryFunction::hard_swish: return x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6;
    case UnaryFunction::leaky_relu: return x > 0 ? 1 : alpha;
  }
  return 0;
}

// Distance in units in the last place of the wanted value. What lies below 4 FLT_MIN counts as zero: kernels
// flush denormals, also the e⁻²ˣ of which the slope of tanh is up to 4 times.
double ulps(float got, double wanted) {
  const double difference = std::fabs(static_cast<double>(got) - wanted);
  if (std::isnan(wanted) || std::isnan(got)) return std::isnan(wanted) && std::isnan(got) ? 0 : 1e9;
  if (difference <= 4 * static_cast<double>(FLT_MIN)) return 0;
  return std::ldexp(difference, 23 - std::ilogb(wanted));
}

// Every 1021st of all normal floats, and all of a fine grid where the functions bend.
std::vector<float> arguments() {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 1021) {
    const uint32_t word = static_cast<uint32_t>(bits);
    float v;
    std::memcpy(&v, &word, sizeof v);
    if (std::isnormal(v)) x.push_back(v);
  }
  for (int i = -400000; i <= 400000; ++i) x.push_back(static_cast<float>(i) * 2.5e-5f);
  for (const float special : {0.0f, -0.0f, 3.0f, -3.0f, 0.625f, -0.625f, 88.0f, -88.0f, FLT_MAX, -FLT_MAX}) x.push_back(special);
  return x;
}

struct Bound {
  const char* name;
  Unary unary;
  double value, slope;  // ulps
};

constexpr Bound kBounds[] = {
    {"sigmoid", {UnaryFunction::sigmoid, 0}, 2.5, 4.5},
    {"tanh", {UnaryFunction::tanh, 0}, 2, 4.5},
    {"hard-swish", {UnaryFunction::hard_swish, 0}, 2, 1},
    {"leaky ReLU", {UnaryFunction::leaky_relu, 0.3f}, 0.5, 0},
};

void run_accuracy(Checks& checks, const Bound& bound) {
  const std::vector<float> x = arguments();
  const int64_t count = static_cast<int64_t>(x.size());
  const std::vector<float> ones(x.size(), 1.0f);
  const double alpha = static_cast<double>(bound.unary.alpha);
  const Kernels* tables[kMostKernels];
  const int isas = supported_kernels(tables);
  for (int t = 0; t < isas; ++t) {
    const Outputs o = run_once(*tables[t], 2, 0, [&](const Context& context) {
      Outputs out{std::vector<float>(x.size()), std::vector<float>(x.size())};
      unary_forward(count, bound.unary, x.data(), {}, nullptr, out[0].data(), context);
      unary_backward(count, bound.unary, x.data(), nullptr, ones.data(), out[1].data(), context);
      return out;
    });
    double worst[2] = {0, 0}, at[2] = {0, 0};
    for (size_t i = 0; i < x.size(); ++i) {
      const double v = static_cast<double>(x[i]);
      const double error[2] = {ulps(o[0][i], value_of(bound.unary.function, alpha, v)),
                               ulps(o[1][i], slope_of(bound.unary.function, alpha, v))};
      for (int k = 0; k < 2; ++k) {
        if (error[k] > worst[k]) worst[k] = error[k], at[k] = v;
      }
    }
    const std::string where = std::string(bound.name) + " on " + tables[t]->isa;
    const auto text = [&](int k) { return std::to_string(worst[k]) + " ulps at " + std::to_string(at[k]); };
    checks.check(worst[0] <= bound.value, where + ": value off by " + text(0));
    checks.check(worst[1] <= bound.slope, where + ": slope off by " + text(1));
  }
}

// NaN stays NaN, and infinities go to the limits.
void run_specials(Checks& checks) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x{nan, inf, -inf};
  struct Limit {
    UnaryFunction function;
    float high, low;
  };
  for (const Limit& limit : {Limit{UnaryFunction::sigmoid, 1, 0}, Limit{UnaryFunction::tanh, 1, -1},
                             Limit{UnaryFunction::hard_swish, inf, nan}, Limit{UnaryFunction::leaky_relu, inf, -inf}}) {
    const Unary unary{limit.function, 0.3f};
    const Expected expected{{static_cast<double>(nan), static_cast<double>(limit.high), static_cast<double>(limit.low)}, {0, 0, 0}};
    checks.everywhere(
        "unary specials " + std::to_string(static_cast<int>(limit.function)), [](int) { return size_t{0}; },
        [&](const Context& context) {
          Outputs o{std::vector<float>(3)};
          unary_forward(3, unary, x.data(), {}, nullptr, o[0].data(), context);
          return o;
        },
        {expected});
  }
}

// Fake quantization in the same pass gives the bytes of f(x) followed by fake quantization, in every mode.
void run_quantized(Checks& checks, const Unary& unary, int64_t count, Random& random) {
  const std::vector<float> x = random.floats(count, -7, 7), dy = random.floats(count);
  const Kernels* tables[kMostKernels];
  const int isas = supported_kernels(tables);
  for (int t = 0; t < isas; ++t) {
    for (const QuantMode mode : {QuantMode::update, QuantMode::frozen, QuantMode::observe}) {
      for (const RangeUpdate update : {RangeUpdate::moving_average, RangeUpdate::running_min_max, RangeUpdate::none}) {
        const auto run = [&](bool fused, int threads) {
          return run_once(*tables[t], threads, 0, [&](const Context& context) {
            Outputs o{std::vector<float>(x.size()), std::vector<float>(x.size()), {-0.25f, 0.5f}};
            ActivationQuant quant;
            quant.min = &o[2][0], quant.max = &o[2][1];
            quant.rule.update = update, quant.rule.one_minus_decay = 0.5f, quant.mode = mode;
            NudgedRange range;
            if (fused) {
              unary_forward(count, unary, x.data(), quant, &range, o[0].data(), context);
              if (mode == QuantMode::update) unary_backward(count, unary, x.data(), &range, dy.data(), o[1].data(), context);
              return o;
            }
            std::vector<float> plain(x.size()), d_plain(x.size());
            unary_forward(count, unary, x.data(), {}, nullptr, plain.data(), context);
            activation_forward(count, plain.data(), Activation::none, quant, &range, o[0].data(), context);
            if (mode == QuantMode::update) {
              activation_backward(count, plain.data(), Activation::none, &range, dy.data(), d_plain.data(), context);
              unary_backward(count, unary, x.data(), nullptr, d_plain.data(), o[1].data(), context);
            }
            return o;
          });
        };
        const Outputs expected = run(false, 1);
        bool same = true;
        for (int threads : {1, 2, 4}) {
          const Outputs fused = run(true, threads);
          for (size_t o = 0; o < fused.size(); ++o) {
            for (size_t i = 0; i < fused[o].size(); ++i) same = same && fused[o][i] == expected[o][i];
          }
        }
        checks.check(same, "quantized unary " + std::to_string(static_cast<int>(unary.function)) + " of " + std::to_string(count) + " on " +
                               tables[t]->isa);
      }
    }
  }
}

}  // namespace

void test_unary(Checks& checks) {
  Random random(60);
  for (const Bound& bound : kBounds) {
    run_accuracy(checks, bound);
    for (const int64_t count : {1, 17, 70001}) run_quantized(checks, bound.unary, count, random);
  }
  run_specials(checks);
}

}  // namespace pcqat::test
