#include "ops/conv.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "carver.h"
#include "check.h"
#include "norm_sums.h"
#include "ops/statistics.h"

namespace pcqat::test {

namespace {

Expected expected_of(const std::vector<Sum>& sums) {
  Expected expected;
  for (const Sum& sum : sums) {
    expected.value.push_back(sum.value);
    expected.bound.push_back(sum_bound(sum.terms, sum.magnitude));
  }
  return expected;
}

// Of products whose operands are each rounded to 8 significant bits: (1 + u)² - 1 with u = 2^-8.
Expected rounded(const std::vector<Sum>& sums) {
  Expected expected = expected_of(sums);
  for (size_t i = 0; i < sums.size(); ++i) expected.bound[i] += sums[i].magnitude * (2.0 / 256 + 1.0 / 65536);
  return expected;
}

// Sum, least and greatest value per channel.
std::vector<Expected> statistics_of(const Expected& y, int64_t rows, int64_t channels) {
  const auto size = static_cast<size_t>(channels);
  std::vector<Expected> all(3, {std::vector<double>(size), std::vector<double>(size)});
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0, low = y.value[c], high = low, magnitude = 0, bound = 0;
    for (int64_t i = c; i < rows * channels; i += channels) {
      sum += y.value[i];
      magnitude += std::fabs(y.value[i]) + 6;  // sums are relative to a row
      low = std::min(low, y.value[i]);
      high = std::max(high, y.value[i]);
      bound = std::max(bound, y.bound[i]);
    }
    const double bounds[3] = {sum_bound(static_cast<double>(rows), magnitude) + static_cast<double>(rows) * bound, bound, bound};
    const double values[3] = {sum, low, high};
    for (int s = 0; s < 3; ++s) {
      all[s].value[c] = values[s];
      all[s].bound[c] = bounds[s];
    }
  }
  return all;
}

Outputs totals(const OutputStatistics& taken, int64_t rows, int64_t channels, const std::vector<float>& y) {
  const auto size = static_cast<size_t>(channels);
  Outputs o{std::vector<float>(size), std::vector<float>(size, INFINITY), std::vector<float>(size, -INFINITY)};
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    int64_t counted = 0;
    for (int64_t chunk = 0; chunk < taken.chunks.count; ++chunk) {
      const int64_t at = chunk * channels + c;
      sum += taken.sum[at] +
             static_cast<double>(taken.chunks.length(chunk)) * static_cast<double>(y[taken.chunks.begin(chunk) * channels + c]);
      counted += taken.chunks.length(chunk);
      o[1][c] = std::min(o[1][c], taken.low[at]);
      o[2][c] = std::max(o[2][c], taken.high[at]);
    }
    o[0][c] = counted == rows ? static_cast<float>(sum) : NAN;
  }
  return o;
}

int64_t out_size(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
  return (in + pad - (kernel - 1) * dilation - 1) / stride + 1;
}

std::string describe(const ConvGeometry& g, int64_t rows) {
  const auto s = [](int64_t v) { return std::to_string(v); };
  return s(rows) + "x" + s(g.in_h) + "x" + s(g.in_w) + "x" + s(g.in_c) + " -> " + s(g.out_h) + "x" + s(g.out_w) + "x" + s(g.out_c) +
         " kernel " + s(g.kernel_h) + "x" + s(g.kernel_w) + " stride " + s(g.stride_h) + "," + s(g.stride_w) + " pad " + s(g.pad_top) +
         "," + s(g.pad_left) + " dilation " + s(g.dilation_h) + "," + s(g.dilation_w);
}

// body(x offset, kernel offset, y offset) for each product of the convolution; offsets without the channels of a plain
// convolution's kernel.
template <typename Body>
void each_tap(const ConvGeometry& g, int64_t rows, Body body) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t pixel = 0; pixel < g.out_h * g.out_w; ++pixel) {
      for (int64_t tap = 0; tap < g.kernel_h * g.kernel_w; ++tap) {
        const int64_t h = pixel / g.out_w * g.stride_h - g.pad_top + tap / g.kernel_w * g.dilation_h;
        const int64_t w = pixel % g.out_w * g.stride_w - g.pad_left + tap % g.kernel_w * g.dilation_w;
        if (h < 0 || h >= g.in_h || w < 0 || w >= g.in_w) continue;
        body(((row * g.in_h + h) * g.in_w + w) * g.in_c, tap, (row * g.out_h * g.out_w + pixel) * g.out_c);
      }
    }
  }
}

struct Case {
  ConvGeometry g;
  int64_t rows;
  bool depthwise;
};

// A layer right after a batch norm: rows of its input that it computes itself give the bytes of rows that were there before, and the sums
// that it takes of its input's gradient are those of all rows.
void run_after_norm(Checks& checks, const Case& c, const std::string& name, size_t workspace, Random& random) {
  const ConvGeometry& g = c.g;
  const int64_t pixels = c.rows * g.in_h * g.in_w, in_size = pixels * g.in_c, out_size = c.rows * g.out_h * g.out_w * g.out_c;
  const int64_t kernel_size = g.kernel_h * g.kernel_w * (c.depthwise ? g.out_c : g.in_c * g.out_c);
  const std::vector<float> norm_x = random.floats(in_size), constants = random.floats(3 * g.in_c), kernel = random.floats(kernel_size),
                           dy = random.floats(out_size);
  const NormOutput norm{g.in_c, norm_x.data(), &constants[0], &constants[g.in_c], {-0.75f, 0.5f, true, -0.75f, 1.25f / 255, 153}, false};
  std::vector<float> there(norm_x.size()), settled = there;
  const Kernels& kernels = *find_kernels(nullptr);
  norm_output_rows(norm, 0, pixels, there.data(), kernels);
  std::vector<double> gradients(static_cast<size_t>(kMaxChunks * g.in_c)), products = gradients;
  NormSums taken{g.in_c, norm_x.data(),    &constants[0],  &constants[g.in_c], &constants[2 * g.in_c], {-0.6f, 0.4f},
                 0,      gradients.data(), products.data()};
  const auto pass = [&](const LayerInput& x, NormSums* wanted) {
    return run_once(kernels, 2, workspace, [&](const Context& context) {
      Outputs o{std::vector<float>(dy.size()), std::vector<float>(norm_x.size()), std::vector<float>(kernel.size())};
      const ConvGradients targets{o[1].data(), o[2].data(), nullptr, wanted};
      if (c.depthwise) {
        depthwise_forward(g, c.rows, x, kernel.data(), nullptr, Activation::none, o[0].data(), nullptr, context);
        depthwise_backward(g, c.rows, x, kernel.data(), {dy.data()}, targets, context);
      } else {
        conv2d_forward(g, c.rows, x, kernel.data(), nullptr, Activation::none, o[0].data(), nullptr, context);
        conv2d_backward(g, c.rows, x, kernel.data(), {dy.data()}, targets, false, context);
      }
      return o;
    });
  };
  const Outputs late = pass({nullptr, &norm, settled.data()}, &taken);
  checks.check(late == pass({there.data()}, nullptr), name + ": a delayed input gives other bytes");
  if (c.depthwise && g.in_c != g.out_c) return checks.check(taken.chunks == 0, name + ": sums of repeated channels");
  checks.check(are_sums_of(taken, late[1]), name + ": sums for the batch norm before");
}

void run(Checks& checks, const Case& c, Random& random) {
  const ConvGeometry& g = c.g;
  const int64_t multiplier = g.out_c / g.in_c;
  const int64_t kernel_size = g.kernel_h * g.kernel_w * (c.depthwise ? g.out_c : g.in_c * g.out_c);
  const int64_t in_size = c.rows * g.in_h * g.in_w * g.in_c, out_size = c.rows * g.out_h * g.out_w * g.out_c;
  const std::vector<float> x = random.floats(in_size), kernel = random.floats(kernel_size), bias = random.floats(g.out_c),
                           dy = random.floats(out_size);
  std::vector<Sum> y(static_cast<size_t>(out_size)), dx(static_cast<size_t>(in_size)), dk(static_cast<size_t>(kernel_size)),
      db(static_cast<size_t>(g.out_c));
  for (int64_t i = 0; i < out_size; ++i) {
    y[i].add(bias[i % g.out_c], 1);
    db[i % g.out_c].add(dy[i], 1);
  }
  const auto product = [&](int64_t xi, int64_t ki, int64_t yi) {
    y[yi].add(x[xi], kernel[ki]);
    dx[xi].add(dy[yi], kernel[ki]);
    dk[ki].add(dy[yi], x[xi]);
  };
  each_tap(g, c.rows, [&](int64_t xi, int64_t tap, int64_t yi) {
    if (c.depthwise) {
      for (int64_t oc = 0; oc < g.out_c; ++oc) product(xi + oc / multiplier, tap * g.out_c + oc, yi + oc);
    } else {
      for (int64_t ic = 0; ic < g.in_c; ++ic) {
        for (int64_t oc = 0; oc < g.out_c; ++oc) product(xi + ic, (tap * g.in_c + ic) * g.out_c + oc, yi + oc);
      }
    }
  });
  for (Sum& sum : y) sum.value = sum.value < 0 ? 0 : sum.value > 6 ? 6 : sum.value;
  const auto workspace = [&](int threads) {
    return c.depthwise ? std::max(depthwise_workspace(g, c.rows, threads), depthwise_backward_workspace(g, c.rows, threads))
                       : std::max(conv2d_workspace(g, threads), conv2d_backward_workspace(g, c.rows, true, threads));
  };
  const int64_t out_pixels = out_size / g.out_c;
  const std::vector<Expected> statistics = statistics_of(expected_of(y), out_pixels, g.out_c);
  const auto op = [&](const Context& context) {
    Outputs o{std::vector<float>(y.size()), std::vector<float>(dx.size()), std::vector<float>(dk.size()), std::vector<float>(db.size())};
    std::vector<char> memory(static_cast<size_t>(kMaxChunks * g.out_c * 24 + 256));
    Carver carver(reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t{63}));
    OutputStatistics taken = OutputStatistics::plan(g.out_c, carver);
    const auto forward = c.depthwise ? depthwise_forward : conv2d_forward;
    forward(g, c.rows, {x.data()}, kernel.data(), bias.data(), Activation::relu6, o[0].data(), &taken, context);
    // Each gradient alone.
    if (c.depthwise) {
      depthwise_backward(g, c.rows, {}, kernel.data(), {dy.data()}, {o[1].data()}, context);
      depthwise_backward(g, c.rows, {x.data()}, nullptr, {dy.data()}, {nullptr, o[2].data(), o[3].data()}, context);
    } else {
      conv2d_backward(g, c.rows, {}, kernel.data(), {dy.data()}, {o[1].data()}, false, context);
      conv2d_backward(g, c.rows, {x.data()}, nullptr, {dy.data()}, {nullptr, o[2].data(), o[3].data()}, false, context);
    }
    for (const std::vector<float>& sums : totals(taken, out_pixels, g.out_c, o[0])) o.push_back(sums);
    return o;
  };
  checks.everywhere(std::string(c.depthwise ? "depthwise " : "conv2d ") + describe(g, c.rows), workspace, op,
                    {expected_of(y), expected_of(dx), expected_of(dk), expected_of(db), statistics[0], statistics[1], statistics[2]});
  const std::string name = std::string(c.depthwise ? "depthwise" : "conv2d") + " backward " + describe(g, c.rows);
  const auto together = [&](bool bf16, const NormGradient* delayed, const std::vector<float>& gradient) {
    return [&, bf16, delayed](const Context& context) {
      Outputs o{std::vector<float>(dx.size()), std::vector<float>(dk.size()), std::vector<float>(db.size())};
      std::vector<float> rows = gradient;
      ConvGradients targets{o[0].data(), o[1].data(), o[2].data()};
      double bound = std::numeric_limits<double>::infinity();
      targets.kernel_bound = &bound;
      const bool rounds = bf16 && context.kernels.bf16_product != nullptr;
      if (c.depthwise)
        depthwise_backward(g, c.rows, {x.data()}, kernel.data(), {rows.data(), delayed, rows.data()}, targets, context);
      else
        conv2d_backward(g, c.rows, {x.data()}, kernel.data(), {rows.data(), delayed, rows.data()}, targets, rounds, context);
      checks.check(std::all_of(o[1].begin(), o[1].end(), [&](float d) { return std::fabs(d) <= bound; }), name + ": bound of the kernel");
      return o;
    };
  };
  checks.everywhere(name, workspace, together(false, nullptr, dy), {expected_of(dx), expected_of(dk), expected_of(db)});
  if (!c.depthwise) {
    checks.everywhere(name + " bf16", workspace, together(true, nullptr, dy), {rounded(dx), rounded(dk), expected_of(db)});
  }

  // Rows that still go through a batch norm's gradient, against rows that have gone through it before.
  const std::vector<float> norm_x = random.floats(out_size), constants = random.floats(5 * g.out_c);
  const NormGradient norm{g.out_c,
                          norm_x.data(),
                          &constants[0],
                          &constants[g.out_c],
                          &constants[2 * g.out_c],
                          &constants[3 * g.out_c],
                          &constants[4 * g.out_c],
                          {-0.5f, 0.75f}};
  const Kernels& kernels = *find_kernels(nullptr);
  const Outputs late = run_once(kernels, 2, workspace(2), together(false, &norm, dy));
  std::vector<float> settled = dy;
  norm_gradient_rows(norm, 0, out_pixels, dy.data(), settled.data(), kernels);
  const Outputs early = run_once(kernels, 2, workspace(2), together(false, nullptr, settled));
  checks.check(late == early, name + ": a delayed batch norm gives other bytes");
  run_after_norm(checks, c, name, workspace(2), random);
}

ConvGeometry geometry(int64_t in_h, int64_t in_w, int64_t in_c, int64_t out_c, int64_t kernel_h, int64_t kernel_w, int64_t stride_h,
                      int64_t stride_w, int64_t dilation_h, int64_t dilation_w, int64_t top, int64_t bottom, int64_t left, int64_t right) {
  return {in_h,
          in_w,
          in_c,
          out_size(in_h, kernel_h, stride_h, dilation_h, top + bottom),
          out_size(in_w, kernel_w, stride_w, dilation_w, left + right),
          out_c,
          kernel_h,
          kernel_w,
          stride_h,
          stride_w,
          top,
          left,
          dilation_h,
          dilation_w};
}

void run_random(Checks& checks, bool depthwise, uint64_t seed) {
  Random random(seed);
  for (int i = 0; i < 40; ++i) {
    const auto pick = [&](int64_t low, int64_t high) { return random.between(low, high); };
    const int64_t kernel_h = pick(1, 4), kernel_w = pick(1, 4), dilation_h = pick(1, 2), dilation_w = pick(1, 2);
    const int64_t in_h = pick((kernel_h - 1) * dilation_h + 1, 12), in_w = pick((kernel_w - 1) * dilation_w + 1, 12);
    const int64_t in_c = pick(1, 40), out_c = depthwise ? in_c * pick(1, 3) : pick(1, 40);
    run(checks,
        {geometry(in_h, in_w, in_c, out_c, kernel_h, kernel_w, pick(1, 3), pick(1, 3), dilation_h, dilation_w, pick(0, 2), pick(0, 2),
                  pick(0, 2), pick(0, 2)),
         pick(1, 4), depthwise},
        random);
  }
}

// A gradient of many weights is written past the cache where its rows are whole lines of it, to the same bytes.
void run_streamed(Checks& checks, Random& random) {
  const ConvGeometry g = geometry(1, 1, 1000, 1072, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0);
  constexpr int64_t kRows = 3, kWeights = 1000 * 1072;
  const std::vector<float> x = random.floats(kRows * g.in_c), dy = random.floats(kRows * g.out_c);
  const Kernels* tables[kMostKernels];
  const int count = supported_kernels(tables);
  for (int t = 0; t < count; ++t) {
    for (const bool bf16 : {false, tables[t]->bf16_product != nullptr}) {
      std::vector<float> memory(kWeights + 32);
      float* const aligned = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t{63});
      const auto gradient_at = [&](float* d_kernel) {
        std::fill(memory.begin(), memory.end(), 7.0f);
        return run_once(*tables[t], 2, conv2d_backward_workspace(g, kRows, bf16, 2), [&](const Context& context) {
          conv2d_backward(g, kRows, {x.data()}, nullptr, {dy.data()}, {nullptr, d_kernel}, bf16, context);
          return Outputs{std::vector<float>(d_kernel, d_kernel + kWeights)};
        });
      };
      const Outputs streamed = gradient_at(aligned);
      checks.check(streamed == gradient_at(aligned + 1), std::string("gradient past the cache on ") + tables[t]->isa);
      double worst = 0;
      for (int64_t i = 0; i < kWeights; ++i) {
        double sum = 0;
        for (int64_t row = 0; row < kRows; ++row) {
          sum += static_cast<double>(x[row * g.in_c + i / g.out_c]) * static_cast<double>(dy[row * g.out_c + i % g.out_c]);
        }
        worst = std::max(worst, std::fabs(sum - static_cast<double>(streamed[0][i])));
      }
      checks.check(worst <= (bf16 ? 0.03 : 1e-6), std::string("gradient of many weights on ") + tables[t]->isa);
    }
  }
}

}  // namespace

void test_conv(Checks& checks) {
  Random random(1);
  // DS-CNN's first layer, MobileNet's first, pointwise with ragged sizes, strided shortcut, many channels.
  run(checks, {geometry(49, 10, 1, 64, 10, 4, 2, 2, 1, 1, 4, 5, 1, 1), 5, false}, random);
  run(checks, {geometry(33, 33, 3, 8, 3, 3, 2, 2, 1, 1, 0, 1, 0, 1), 3, false}, random);
  run(checks, {geometry(25, 5, 64, 64, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 7, false}, random);
  run(checks, {geometry(9, 7, 67, 45, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 13, false}, random);
  run(checks, {geometry(9, 9, 16, 32, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0), 3, false}, random);
  run(checks, {geometry(8, 8, 130, 70, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 3, false}, random);
  // Walked image by image or in blocks over several chunks; and so many weights, or so few pixels, that the walk is taken twice.
  run(checks, {geometry(13, 5, 40, 52, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 60, false}, random);
  run(checks, {geometry(13, 5, 20, 100, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 40, false}, random);  // rows of the gradient end with unused floats
  run(checks, {geometry(8, 8, 20, 24, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 33, false}, random);
  run(checks, {geometry(3, 3, 300, 445, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 9, false}, random);
  run(checks, {geometry(6, 6, 150, 20, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 5, false}, random);
  run(checks, {geometry(7, 7, 90, 1500, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 2, false}, random);  // cut along the columns, forward too
  run(checks, {geometry(3, 2, 130, 120, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 2, false}, random);
  // Few pixels, so that the kernel is read in place: one, then as many weights as a walk over pixels takes, and more.
  run(checks, {geometry(1, 1, 37, 128, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 1, false}, random);
  run(checks, {geometry(2, 2, 130, 175, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 11, false}, random);
  run(checks, {geometry(8, 8, 520, 300, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), 1, false}, random);
  // Rows long enough to be read in place, with windows that lie partly or wholly outside the image; and several chunks of them.
  run(checks, {geometry(33, 71, 3, 8, 3, 3, 2, 2, 1, 1, 0, 1, 0, 1), 2, false}, random);
  run(checks, {geometry(9, 60, 2, 40, 4, 5, 1, 1, 2, 1, 3, 4, 2, 2), 3, false}, random);
  run(checks, {geometry(3, 40, 5, 37, 1, 3, 1, 1, 1, 1, 2, 2, 1, 1), 11, false}, random);
  run(checks, {geometry(20, 36, 12, 35, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 5, false}, random);
  // Windows that mostly lie partly beside the image; several pieces of it, padding wider than the image, a stride beyond it.
  run(checks, {geometry(400, 7, 2, 20, 5, 6, 2, 2, 2, 1, 3, 4, 3, 2), 2, false}, random);
  run(checks, {geometry(10, 3, 2, 20, 3, 8, 1, 1, 1, 1, 2, 2, 9, 9), 3, false}, random);
  run(checks, {geometry(5, 4, 2, 3, 3, 6, 1000000000, 1000000000, 1, 1, 1, 1, 1, 1), 2, false}, random);
  run_random(checks, false, 2);
  run_streamed(checks, random);
}

void test_depthwise(Checks& checks) {
  Random random(3);
  run(checks, {geometry(25, 5, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 6, true}, random);
  run(checks, {geometry(25, 10, 69, 69, 3, 3, 2, 2, 1, 1, 1, 1, 0, 1), 5, true}, random);
  run(checks, {geometry(7, 9, 5, 10, 3, 3, 2, 2, 1, 1, 0, 0, 0, 0), 3, true}, random);
  run(checks, {geometry(13, 5, 36, 36, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 41, true}, random);
  run(checks, {geometry(14, 9, 17, 17, 3, 3, 2, 2, 1, 1, 0, 1, 0, 1), 9, true}, random);
  // Several steps an image.
  run(checks, {geometry(40, 37, 69, 69, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 2, true}, random);
  run(checks, {geometry(61, 60, 36, 36, 3, 5, 2, 2, 2, 1, 3, 1, 2, 2), 2, true}, random);
  run(checks, {geometry(50, 30, 24, 48, 3, 3, 1, 1, 1, 1, 0, 2, 0, 2), 2, true}, random);
  run(checks, {geometry(6, 6, 8, 8, 6, 6, 1, 1, 1, 1, 0, 0, 0, 0), 3, true}, random);
  run(checks, {geometry(5, 4, 3, 3, 2, 2, 1000000000, 1000000000, 1, 1, 0, 0, 0, 0), 2, true}, random);  // one output pixel
  // Taps that never see the image, of which some do and none do.
  run(checks, {geometry(1, 6, 37, 37, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1), 3, true}, random);
  run(checks, {geometry(5, 4, 3, 3, 3, 3, 1, 1, 400000000, 2, 400000000, 400000000, 2, 2), 2, true}, random);
  run(checks, {geometry(5, 4, 3, 3, 2, 2, 1, 1, 1000000000, 1000000000, 500000000, 500000000, 500000000, 500000000), 2, true}, random);
  run_random(checks, true, 4);
}

}  // namespace pcqat::test
