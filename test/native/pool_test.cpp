#include "ops/pool.h"

#include <cmath>

#include "check.h"
#include "norm_sums.h"
#include "ops/chunks.h"

namespace pcqat::test {

namespace {

size_t no_workspace(int) { return 0; }

void run(Checks& checks, const PoolGeometry& g, int64_t rows, Random& random) {
  const int64_t in = rows * g.in_h * g.in_w * g.channels, out = rows * g.out_h * g.out_w * g.channels;
  // Few distinct values, so that ties for the maximum occur.
  std::vector<float> x(static_cast<size_t>(in));
  for (float& v : x) v = static_cast<float>(random.between(-3, 3));
  const std::vector<float> dy = random.floats(out);
  const auto zeros = [](int64_t size) {
    return Expected{std::vector<double>(static_cast<size_t>(size)), std::vector<double>(static_cast<size_t>(size))};
  };
  Expected average = zeros(out), maximum = zeros(out), d_average = zeros(in), d_maximum = zeros(in);
  for (int64_t o = 0; o < out; ++o) {
    const int64_t c = o % g.channels, ow = o / g.channels % g.out_w, oh = o / (g.channels * g.out_w) % g.out_h,
                  row = o / (g.channels * g.out_w * g.out_h);
    std::vector<int64_t> window;
    for (int64_t h = oh * g.stride_h - g.pad_top; h < oh * g.stride_h - g.pad_top + g.pool_h; ++h) {
      for (int64_t w = ow * g.stride_w - g.pad_left; w < ow * g.stride_w - g.pad_left + g.pool_w; ++w) {
        if (h >= 0 && h < g.in_h && w >= 0 && w < g.in_w) window.push_back(((row * g.in_h + h) * g.in_w + w) * g.channels + c);
      }
    }
    const double share = static_cast<double>(dy[o]) / static_cast<double>(window.size());
    int64_t best = window[0];
    double sum = 0;
    for (const int64_t i : window) {
      sum += static_cast<double>(x[i]);
      if (x[i] > x[best]) best = i;
      d_average.value[i] += share;
      d_average.bound[i] += 8 * kEpsilon * std::fabs(share);
    }
    average.value[o] = sum / static_cast<double>(window.size());
    average.bound[o] = 8 * kEpsilon * 3;
    maximum.value[o] = static_cast<double>(x[best]);
    d_maximum.value[best] += static_cast<double>(dy[o]);
    d_maximum.bound[best] += 8 * kEpsilon * std::fabs(static_cast<double>(dy[o]));
  }
  checks.everywhere("pool " + std::to_string(g.in_h) + "x" + std::to_string(g.in_w) + "x" + std::to_string(g.channels), no_workspace,
                    [&](const Context& context) {
                      Outputs o{std::vector<float>(static_cast<size_t>(out)), std::vector<float>(static_cast<size_t>(out)),
                                std::vector<float>(static_cast<size_t>(in)), std::vector<float>(static_cast<size_t>(in))};
                      average_pool_forward(g, rows, x.data(), o[0].data(), context);
                      max_pool_forward(g, rows, x.data(), o[1].data(), context);
                      average_pool_backward(g, rows, dy.data(), o[2].data(), context);
                      max_pool_backward(g, rows, x.data(), dy.data(), o[3].data(), context);
                      return o;
                    },
                    {average, maximum, d_average, d_maximum});
}

void run_global(Checks& checks, int64_t rows, int64_t pixels, int64_t channels, Random& random) {
  const std::vector<float> x = random.floats(rows * pixels * channels), dy = random.floats(rows * channels);
  Expected y, dx;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < channels; ++c) {
      double sum = 0, magnitude = 0;
      for (int64_t p = 0; p < pixels; ++p) {
        sum += static_cast<double>(x[(row * pixels + p) * channels + c]);
        magnitude += std::fabs(static_cast<double>(x[(row * pixels + p) * channels + c]));
      }
      y.value.push_back(sum / static_cast<double>(pixels));
      y.bound.push_back(sum_bound(static_cast<double>(pixels), magnitude) / static_cast<double>(pixels));
    }
  }
  for (int64_t i = 0; i < rows * pixels * channels; ++i) {
    const double d = static_cast<double>(dy[i / (pixels * channels) * channels + i % channels]) / static_cast<double>(pixels);
    dx.value.push_back(d);
    dx.bound.push_back(4 * kEpsilon * std::fabs(d));
  }
  checks.everywhere(
      "global average pool", [&](int threads) { return global_average_pool_workspace(pixels, channels, threads); },
      [&](const Context& context) {
        Outputs o{std::vector<float>(dy.size()), std::vector<float>(x.size())};
        global_average_pool_forward(rows, pixels, channels, {x.data()}, o[0].data(), context);
        global_average_pool_backward(rows, pixels, channels, dy.data(), o[1].data(), nullptr, context);
        return o;
      },
      {y, dx});
}

// A pool right after a batch norm: images that it computes itself give the bytes of images that were there before, and the sums that it
// takes of its input's gradient are those of all rows.
void run_after_norm(Checks& checks, int64_t rows, int64_t pixels, int64_t channels, Random& random) {
  const int64_t size = rows * pixels * channels;
  const std::vector<float> norm_x = random.floats(size), constants = random.floats(3 * channels), dy = random.floats(rows * channels);
  const NormOutput norm{channels, norm_x.data(), &constants[0], &constants[channels], {0, 6, false, 0, 0, 0}, false};
  std::vector<double> gradients(static_cast<size_t>(kMaxChunks * channels)), products = gradients;
  NormSums taken{channels, norm_x.data(),    &constants[0],  &constants[channels], &constants[2 * channels], {-0.6f, 0.4f},
                 0,        gradients.data(), products.data()};
  const std::string name = "global average pool after a batch norm, " + std::to_string(rows) + "x" + std::to_string(pixels);
  const Kernels& kernels = *find_kernels(nullptr);
  const auto pass = [&](const LayerInput& x, NormSums* sums) {
    return run_once(kernels, 2, global_average_pool_workspace(pixels, channels, 2), [&](const Context& context) {
      Outputs o{std::vector<float>(dy.size()), std::vector<float>(norm_x.size())};
      global_average_pool_forward(rows, pixels, channels, x, o[0].data(), context);
      global_average_pool_backward(rows, pixels, channels, dy.data(), o[1].data(), sums, context);
      return o;
    });
  };
  std::vector<float> there(norm_x.size());
  norm_output_rows(norm, 0, rows * pixels, there.data(), kernels);
  const Outputs late = pass({nullptr, &norm}, &taken);
  checks.check(late == pass({there.data()}, nullptr), name + ": a delayed input gives other bytes");
  checks.check(are_sums_of(taken, late[1]), name + ": other sums");
}

void run_pad(Checks& checks, const PadGeometry& g, int64_t rows, Random& random) {
  const int64_t out_h = g.in_h + g.top + g.bottom, out_w = g.in_w + g.left + g.right;
  const std::vector<float> x = random.floats(rows * g.in_h * g.in_w * g.channels), dy = random.floats(rows * out_h * out_w * g.channels);
  Expected y{std::vector<double>(dy.size()), std::vector<double>(dy.size())},
      dx{std::vector<double>(x.size()), std::vector<double>(x.size())};
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t at = static_cast<int64_t>(i), c = at % g.channels, w = at / g.channels % g.in_w, h = at / (g.channels * g.in_w) % g.in_h,
                  row = at / (g.channels * g.in_w * g.in_h);
    const int64_t to = ((row * out_h + h + g.top) * out_w + w + g.left) * g.channels + c;
    y.value[to] = static_cast<double>(x[i]);
    dx.value[i] = static_cast<double>(dy[to]);
  }
  checks.everywhere("zero padding", no_workspace,
                    [&](const Context& context) {
                      Outputs o{std::vector<float>(dy.size()), std::vector<float>(x.size())};
                      pad_forward(g, rows, x.data(), o[0].data(), context);
                      pad_backward(g, rows, dy.data(), o[1].data(), context);
                      return o;
                    },
                    {y, dx});
}

}  // namespace

void test_pool(Checks& checks) {
  Random random(50);
  run(checks, {26, 26, 12, 13, 13, 2, 2, 2, 2, 0, 0}, 3, random);
  run(checks, {7, 9, 19, 4, 5, 3, 3, 2, 2, 1, 1}, 5, random);  // SAME, overlapping
  run(checks, {5, 4, 1, 5, 4, 3, 2, 1, 1, 1, 0}, 2, random);
  run(checks, {6, 5, 33, 1, 1, 6, 5, 6, 5, 0, 0}, 4, random);  // the whole image
  run_global(checks, 7, 125, 64, random);
  run_global(checks, 3, 1, 5, random);
  run_global(checks, 2, 49, 277, random);
  run_after_norm(checks, 40, 65, 276, random);
  run_after_norm(checks, 3, 1, 5, random);
  run_pad(checks, {5, 7, 3, 1, 2, 0, 4}, 3, random);
  run_pad(checks, {4, 4, 17, 0, 0, 0, 0}, 2, random);
}

}  // namespace pcqat::test
