#include "ops/upsample.h"

#include <cmath>

#include "check.h"
#include "ops/concat.h"
#include "ops/conv_transpose.h"

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

void run_concat(Checks& checks, int64_t pixels, int64_t first, int64_t second, Random& random) {
  const std::vector<float> a = random.floats(pixels * first), b = random.floats(pixels * second);
  const int64_t total = first + second;
  std::vector<float> both(static_cast<size_t>(pixels * total));
  for (int64_t i = 0; i < pixels * total; ++i) {
    both[i] = i % total < first ? a[i / total * first + i % total] : b[i / total * second + i % total - first];
  }
  const auto exactly = [](const std::vector<float>& v) {
    return Expected{std::vector<double>(v.begin(), v.end()), std::vector<double>(v.size(), 0.0)};
  };
  checks.everywhere("concat " + std::to_string(pixels) + "x(" + std::to_string(first) + "+" + std::to_string(second) + ")", no_workspace,
                    [&](const Context& context) {
                      Outputs o{std::vector<float>(both.size()), std::vector<float>(a.size()), std::vector<float>(b.size())};
                      put_channels(pixels, first, a.data(), 0, total, o[0].data(), context);
                      put_channels(pixels, second, b.data(), first, total, o[0].data(), context);
                      take_channels(pixels, first, both.data(), 0, total, o[1].data(), context);
                      take_channels(pixels, second, both.data(), first, total, o[2].data(), context);
                      return o;
                    },
                    {exactly(both), exactly(a), exactly(b)});
}

// Against the definition: every small pixel times the kernel, added to the large image.
void run_transposed(Checks& checks, const ConvGeometry& g, int64_t rows, Random& random) {
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

void test_upsample(Checks& checks) {
  Random random(70);
  for (const bool bilinear : {false, true}) {
    run(checks, {1, 1, 1, 2, 3, bilinear}, 2, random);
    run(checks, {5, 4, 3, 2, 2, bilinear}, 3, random);
    run(checks, {7, 3, 33, 1, 4, bilinear}, 4, random);
  }
  run_known(checks);
  for (const int64_t pixels : {1, 37, 5000}) run_concat(checks, pixels, 3, 20, random);
  // large h, w, channels; small h, w, channels; kernel; strides; padding; dilation
  run_transposed(checks, {8, 8, 5, 4, 4, 7, 3, 3, 2, 2, 0, 0, 1, 1}, 3, random);
  run_transposed(checks, {9, 11, 20, 4, 5, 33, 3, 3, 2, 2, 0, 0, 1, 1}, 5, random);
  run_transposed(checks, {6, 6, 4, 6, 6, 9, 1, 1, 1, 1, 0, 0, 1, 1}, 4, random);
  run_transposed(checks, {9, 6, 3, 3, 2, 5, 2, 2, 3, 3, 0, 0, 1, 1}, 2, random);
  run_transposed(checks, {1, 16, 8, 1, 8, 12, 1, 4, 1, 2, 0, 1, 1, 1}, 2, random);
}

}  // namespace pcqat::test
