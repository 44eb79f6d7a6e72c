#include "ops/conv_transpose.h"

#include <algorithm>
#include <cmath>

#include "check.h"

namespace pcqat::test {

namespace {

// Against the definition: every small pixel times the kernel, added to the large image.
void run(Checks& checks, const ConvGeometry& g, int64_t rows, Random& random) {
  const int64_t small = rows * g.out_h * g.out_w * g.out_c, large = rows * g.in_h * g.in_w * g.in_c;
  const std::vector<float> x = random.floats(small), dy = random.floats(large), bias = random.floats(g.in_c),
                           kernel = random.floats(g.kernel_h * g.kernel_w * g.in_c * g.out_c);
  struct Sums {
    std::vector<double> value, magnitude, terms;
    explicit Sums(size_t n) : value(n), magnitude(n), terms(n) {}
    void add(int64_t i, double a, double b) {
      value[i] += a * b;
      magnitude[i] += std::fabs(a * b);
      terms[i] += 1;
    }
    Expected expected() const {
      Expected e{value, {}};
      for (size_t i = 0; i < value.size(); ++i) e.bound.push_back(sum_bound(terms[i], magnitude[i]));
      return e;
    }
  };
  Sums y(static_cast<size_t>(large)), dx(x.size()), dk(kernel.size()), db(bias.size());
  for (int64_t i = 0; i < large; ++i) {
    y.add(i, static_cast<double>(bias[i % g.in_c]), 1);
    db.add(i % g.in_c, static_cast<double>(dy[i]), 1);
  }
  for (int64_t p = 0; p < rows * g.out_h * g.out_w; ++p) {
    const int64_t row = p / (g.out_h * g.out_w), oh = p / g.out_w % g.out_h, ow = p % g.out_w;
    for (int64_t tap = 0; tap < g.kernel_h * g.kernel_w; ++tap) {
      const int64_t h = oh * g.stride_h - g.pad_top + tap / g.kernel_w, w = ow * g.stride_w - g.pad_left + tap % g.kernel_w;
      if (h < 0 || h >= g.in_h || w < 0 || w >= g.in_w) continue;
      for (int64_t o = 0; o < g.in_c; ++o) {
        const int64_t yi = ((row * g.in_h + h) * g.in_w + w) * g.in_c + o;
        for (int64_t c = 0; c < g.out_c; ++c) {
          const int64_t xi = p * g.out_c + c, ki = (tap * g.in_c + o) * g.out_c + c;
          const double xv = static_cast<double>(x[xi]), kv = static_cast<double>(kernel[ki]), d = static_cast<double>(dy[yi]);
          y.add(yi, xv, kv);
          dx.add(xi, d, kv);
          dk.add(ki, d, xv);
        }
      }
    }
  }
  for (double& value : y.value) value = std::max(value, 0.0);
  checks.everywhere(
      "transposed convolution to " + std::to_string(g.in_h) + "x" + std::to_string(g.in_w) + "x" + std::to_string(g.in_c),
      [&](int threads) { return conv_transpose_workspace(g, rows, threads); },
      [&](const Context& context) {
        Outputs o{std::vector<float>(dy.size()), std::vector<float>(x.size()), std::vector<float>(kernel.size()),
                  std::vector<float>(bias.size())};
        conv_transpose_forward(g, rows, x.data(), kernel.data(), bias.data(), Activation::relu, o[0].data(), context);
        conv_transpose_backward_input(g, rows, dy.data(), kernel.data(), o[1].data(), context);
        conv_transpose_backward_kernel(g, rows, x.data(), dy.data(), o[2].data(), o[3].data(), context);
        return o;
      },
      {y.expected(), dx.expected(), dk.expected(), db.expected()});
}

}  // namespace

void test_conv_transpose(Checks& checks) {
  Random random(72);
  // large h, w, channels; small h, w, channels; kernel; strides; padding; dilation
  run(checks, {8, 8, 5, 4, 4, 7, 3, 3, 2, 2, 0, 0, 1, 1}, 3, random);
  run(checks, {9, 11, 20, 4, 5, 33, 3, 3, 2, 2, 0, 0, 1, 1}, 5, random);
  run(checks, {6, 6, 4, 6, 6, 9, 1, 1, 1, 1, 0, 0, 1, 1}, 4, random);
  run(checks, {9, 6, 3, 3, 2, 5, 2, 2, 3, 3, 0, 0, 1, 1}, 2, random);
  run(checks, {1, 16, 8, 1, 8, 12, 1, 4, 1, 2, 0, 1, 1, 1}, 2, random);
}

}  // namespace pcqat::test
