// A check that layers before which a batch norm stands share: they take the sums of its gradient.
#pragma once

#include <cmath>
#include <vector>

#include "check.h"
#include "ops/norm.h"

namespace pcqat::test {

struct Sum {
  double value = 0, magnitude = 0;
  int terms = 0;
  void add(double a, double b) {
    value += a * b;
    magnitude += a * b < 0 ? -a * b : a * b;
    ++terms;
  }
};

// Whether the chunks' sums are those of all rows of `dx`, the gradient of the norm's output.
inline bool are_sums_of(const NormSums& taken, const std::vector<float>& dx) {
  const int64_t channels = taken.channels, size = static_cast<int64_t>(dx.size());
  bool same = taken.chunks > 0;
  for (int64_t channel = 0; channel < channels; ++channel) {
    Sum gradient, product;
    for (int64_t i = channel; i < size; i += channels) {
      const float v = std::fma(taken.x[i], taken.scale[channel], taken.shift[channel]);
      const double passed = v >= taken.pass.low && v <= taken.pass.high ? static_cast<double>(dx[i]) : 0;
      gradient.add(passed, 1);
      product.add(passed, static_cast<double>(taken.x[i]) - static_cast<double>(taken.mean[channel]));
    }
    double found[2] = {0, 0};
    for (int64_t chunk = 0; chunk < taken.chunks; ++chunk) {
      found[0] += taken.gradient[chunk * channels + channel];
      found[1] += taken.product[chunk * channels + channel];
    }
    same = same && std::fabs(found[0] - gradient.value) <= sum_bound(gradient.terms, gradient.magnitude) &&
           std::fabs(found[1] - product.value) <= sum_bound(product.terms, product.magnitude) + 2 * kEpsilon * product.magnitude;
  }
  return same;
}

}  // namespace pcqat::test
