#include "ops/upsample.h"

#include <cmath>

#include "check.h"

namespace pcqat::test {

namespace {

size_t no_workspace(int) { return 0; }

// A tent around the half-pixel centre, clamped at the border; or the pixel itself.
double axis_weight(bool bilinear, int64_t size, int64_t factor, int64_t from, int64_t to) {
  if (!bilinear) return to / factor == from ? 1 : 0;
  const double center = (static_cast<double>(to) + 0.5) / static_cast<double>(factor) - 0.5;
  const double inside = std::min(std::max(center, 0.0), static_cast<double>(size - 1));
  return std::max(1 - std::fabs(inside - static_cast<double>(from)), 0.0);
}

void run(Checks& checks, const UpSampleGeometry& g, int64_t rows, Random& random) {
  const int64_t out_h = g.in_h * g.factor_h, out_w = g.in_w * g.factor_w, c = g.channels;
  const std::vector<float> x = random.floats(rows * g.in_h * g.in_w * c), dy = random.floats(rows * out_h * out_w * c);
  Expected y{std::vector<double>(dy.size()), std::vector<double>(dy.size())},
      dx{std::vector<double>(x.size()), std::vector<double>(x.size())};
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t oh = 0; oh < out_h; ++oh) {
      for (int64_t ow = 0; ow < out_w; ++ow) {
        for (int64_t ih = 0; ih < g.in_h; ++ih) {
          for (int64_t iw = 0; iw < g.in_w; ++iw) {
            const double weight = axis_weight(g.bilinear, g.in_h, g.factor_h, ih, oh) * axis_weight(g.bilinear, g.in_w, g.factor_w, iw, ow);
            for (int64_t k = 0; weight > 0 && k < c; ++k) {
              const int64_t to = ((row * out_h + oh) * out_w + ow) * c + k, from = ((row * g.in_h + ih) * g.in_w + iw) * c + k;
              y.value[to] += weight * static_cast<double>(x[from]);
              dx.value[from] += weight * static_cast<double>(dy[to]);
              // Weights are rounded too: centres lie up to in_h from 0.
              y.bound[to] += g.bilinear ? 16 * kEpsilon * static_cast<double>(g.in_h + g.in_w) : 0;
              dx.bound[from] += 16 * kEpsilon * static_cast<double>(g.in_h + g.in_w);
            }
          }
        }
      }
    }
  }
  checks.everywhere(std::string(g.bilinear ? "bilinear " : "nearest ") + std::to_string(g.in_h) + "x" + std::to_string(g.in_w) + "x" +
                        std::to_string(c) + " by " + std::to_string(g.factor_h) + "x" + std::to_string(g.factor_w),
                    no_workspace,
                    [&](const Context& context) {
                      Outputs o{std::vector<float>(dy.size()), std::vector<float>(x.size())};
                      upsample_forward(g, rows, x.data(), o[0].data(), context);
                      upsample_backward(g, rows, dy.data(), o[1].data(), context);
                      return o;
                    },
                    {y, dx});
}

// By hand: tf.image.resize([0, 4], [4], bilinear) = 0, 1, 3, 4.
void run_known(Checks& checks) {
  const std::vector<float> x{0, 4};
  const auto resize = [&](bool bilinear) {
    return run_once(*find_kernels(nullptr), 1, 0, [&](const Context& context) {
      Outputs o{std::vector<float>(4)};
      upsample_forward({1, 2, 1, 1, 2, bilinear}, 1, x.data(), o[0].data(), context);
      return o;
    });
  };
  checks.check(resize(true)[0] == std::vector<float>{0, 1, 3, 4}, "bilinear: [0, 4] becomes [0, 1, 3, 4]");
  checks.check(resize(false)[0] == std::vector<float>{0, 0, 4, 4}, "nearest: [0, 4] becomes [0, 0, 4, 4]");
}

}  // namespace

void test_upsample(Checks& checks) {
  Random random(70);
  for (const bool bilinear : {false, true}) {
    run(checks, {1, 1, 1, 2, 3, bilinear}, 2, random);
    run(checks, {5, 4, 3, 2, 2, bilinear}, 3, random);
    run(checks, {7, 3, 33, 1, 4, bilinear}, 4, random);
  }
  run_known(checks);
}

}  // namespace pcqat::test
