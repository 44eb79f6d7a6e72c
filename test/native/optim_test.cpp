#include <algorithm>
#include <cmath>

#include "check.h"
#include "optim/optimizer.h"
#include "simd/kernels.h"

namespace pcqat::test {

namespace {

struct Case {
  int64_t count;
  float clip, decay;
  bool masked, flag;  // flag: decoupled decay, Nesterov
  bool masks_weight;
};

struct Data {
  std::vector<float> gradient, first, second, weight;
  std::vector<uint8_t> mask;
};

Data data_of(int64_t count, Random& random) {
  Data d{random.floats(count), random.floats(count), random.floats(count, 0, 1), random.floats(count), {}};
  for (int64_t i = 0; i < count; ++i) d.mask.push_back(static_cast<uint8_t>(random.between(0, 1)));
  return d;
}

UpdateSettings settings_of(const Case& c, const Data& d) {
  return {0.01f, 0.7f, c.clip, c.decay, c.masked ? d.mask.data() : nullptr, c.masks_weight};
}

double weight_of(const Case& c, const Data& d, int64_t i) {
  return c.masks_weight && d.mask[i] == 0 ? 0.0 : static_cast<double>(d.weight[i]);
}

double clipped(const Case& c, float gradient) {
  const double g = static_cast<double>(gradient) * static_cast<double>(0.7f), limit = static_cast<double>(c.clip);
  return limit > 0 ? std::min(std::max(g, -limit), limit) : g;
}

void run_adam(Checks& checks, const Case& c, Random& random) {
  const Data d = data_of(c.count, random);
  const AdamSettings adam = AdamSettings::of(0.9, 0.999, 1e-7f, 0.01f, 3);
  // Spec 0.4; the powers are taken in f32, where 1 - beta2^t cancels, so alpha is computed as specified there.
  const double alpha = static_cast<double>(0.01f * std::sqrt(1.0f - std::pow(0.999f, 3.0f)) / (1.0f - std::pow(0.9f, 3.0f)));
  Expected m, v, w;
  for (int64_t i = 0; i < c.count; ++i) {
    const double g = clipped(c, d.gradient[i]);
    const double old = weight_of(c, d, i),
                 rate = c.flag && (!c.masked || d.mask[i] != 0) ? static_cast<double>(0.01f) * static_cast<double>(c.decay) : 0.0;
    const double m_new = static_cast<double>(d.first[i]) + (g - static_cast<double>(d.first[i])) * static_cast<double>(0.1f);
    const double v_new = static_cast<double>(d.second[i]) + (g * g - static_cast<double>(d.second[i])) * static_cast<double>(0.001f);
    const double move = alpha * m_new / (std::sqrt(v_new) + static_cast<double>(1e-7f));
    m.value.push_back(m_new);
    m.bound.push_back(8 * kEpsilon);
    v.value.push_back(v_new);
    v.bound.push_back(8 * kEpsilon * v_new);
    w.value.push_back(old - old * rate - move);
    w.bound.push_back(8 * kEpsilon * (1 + std::fabs(alpha / (std::sqrt(v_new) + 1e-7))));
  }
  checks.everywhere(
      "adam " + std::to_string(c.count), [](int) { return size_t{0}; },
      [&](const Context& context) {
        Outputs o{d.first, d.second, d.weight};
        TensorUpdate::adam(settings_of(c, d), adam, c.flag, o[0].data(), o[1].data(), o[2].data())
            .piece(0, c.count, d.gradient.data(), *context.kernels.f32);
        return o;
      },
      {m, v, w});
}

void run_sgd(Checks& checks, const Case& c, Random& random) {
  const Data d = data_of(c.count, random);
  Expected velocity, w;
  for (int64_t i = 0; i < c.count; ++i) {
    double g = clipped(c, d.gradient[i]);
    const double lr = static_cast<double>(0.01f), momentum = static_cast<double>(0.9f), old = weight_of(c, d, i);
    if (!c.masked || d.mask[i] != 0) g += static_cast<double>(c.decay) * old;
    const double v = momentum * static_cast<double>(d.first[i]) - lr * g;
    velocity.value.push_back(v);
    w.value.push_back(old + (c.flag ? momentum * v - lr * g : v));
    velocity.bound.push_back(8 * kEpsilon);
    w.bound.push_back(16 * kEpsilon);
  }
  checks.everywhere(
      "sgd " + std::to_string(c.count), [](int) { return size_t{0}; },
      [&](const Context& context) {
        Outputs o{d.first, d.weight};
        TensorUpdate::sgd(settings_of(c, d), 0.9f, c.flag, o[0].data(), o[1].data())
            .piece(0, c.count, d.gradient.data(), *context.kernels.f32);
        return o;
      },
      {velocity, w});
}

}  // namespace

void test_optim(Checks& checks) {
  Random random(70);
  for (const int64_t count : {1, 15, 64, 1003, 70001}) {
    for (const float clip : {0.0f, 0.3f}) {
      for (const float decay : {0.0f, 0.02f}) {
        for (const bool masked : {false, true}) {
          for (const bool masks_weight : {false, masked}) {
            run_adam(checks, {count, clip, decay, masked, decay > 0, masks_weight}, random);
            run_sgd(checks, {count, clip, decay, masked, clip > 0, masks_weight}, random);
          }
        }
      }
    }
  }
}

}  // namespace pcqat::test
