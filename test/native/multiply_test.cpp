#include "ops/multiply.h"

#include <array>
#include <cmath>

#include "check.h"

namespace pcqat::test {

namespace {

void run_multiply(Checks& checks, int64_t rows, int64_t pixels, int64_t channels, Random& random) {
  const int64_t count = rows * pixels * channels;
  const std::vector<float> x = random.floats(count), other = random.floats(count), factor = random.floats(rows * channels),
                           dy = random.floats(count);
  const size_t n = static_cast<size_t>(count), f = factor.size();
  Expected plain{std::vector<double>(n), std::vector<double>(n)}, scaled = plain, d_factor{std::vector<double>(f), std::vector<double>(f)};
  std::vector<double> magnitude(f);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = i / (pixels * channels) * channels + i % channels;
    plain.value[i] = static_cast<double>(x[i] * other[i]);
    scaled.value[i] = static_cast<double>(x[i] * factor[at]);
    d_factor.value[at] += static_cast<double>(x[i]) * static_cast<double>(dy[i]);
    magnitude[at] += std::fabs(static_cast<double>(x[i]) * static_cast<double>(dy[i]));
  }
  for (size_t i = 0; i < f; ++i) d_factor.bound[i] = sum_bound(static_cast<double>(pixels), magnitude[i]);
  checks.everywhere(
      "multiply " + std::to_string(rows) + "x" + std::to_string(pixels) + "x" + std::to_string(channels),
      [&](int threads) { return channel_product_workspace(channels, threads); },
      [&](const Context& context) {
        Outputs o{std::vector<float>(n), std::vector<float>(n), std::vector<float>(f)};
        multiply(count, x.data(), other.data(), o[0].data(), context);
        channel_product(rows, pixels, channels, x.data(), factor.data(), o[1].data(), context);
        channel_product_backward_factor(rows, pixels, channels, x.data(), dy.data(), o[2].data(), context);
        return o;
      },
      {plain, scaled, d_factor});
}

}  // namespace

void test_multiply(Checks& checks) {
  Random random(61);
  for (const auto& [rows, pixels, channels] : {std::array<int64_t, 3>{1, 1, 1}, {3, 35, 17}, {5, 400, 64}, {2, 7, 131}}) {
    run_multiply(checks, rows, pixels, channels, random);
  }
}

}  // namespace pcqat::test
