// Convolutions of fake-quantized operands by integer products.
#include <cmath>

#include "check.h"
#include "ops/conv.h"
#include "ops/finish.h"
#include "simd/kernels.h"
#include "simd/product_kernels.h"

namespace pcqat::test {

namespace {

struct Operands {
  CodeOperands ranges;
  std::vector<float> x, kernel;
  std::vector<float> table;      // with one scale and few codes: what the kernel consists of
  std::vector<uint8_t> indices;  // of its elements
  std::vector<double> exact;     // y before the bias
  std::vector<float> weight_max, weight_min;
};

// Values on the grids of random ranges, and the exact sums of their codes.
Operands operands_of(const ConvGeometry& g, int64_t rows, int bits, bool per_channel, Random& random) {
  Operands o;
  const int64_t size = g.kernel_h * g.kernel_w * g.in_c, channels = per_channel ? g.out_c : 1;
  const double low = -random.uniform(), high = random.uniform() + 0.1;
  o.ranges.x = nudge_range(static_cast<float>(low), static_cast<float>(high), 8, false);
  for (int64_t c = 0; c < channels; ++c) {
    // A channel of zeros has a range of zero width.
    o.weight_max.push_back(per_channel && c % 7 == 3 ? 0.0f : static_cast<float>(random.uniform() + 0.01));
    o.weight_min.push_back(-o.weight_max.back());
  }
  o.ranges.weight_bits = bits;
  o.ranges.per_channel = per_channel;
  std::vector<int64_t> x_codes, w_codes;
  for (int64_t i = 0; i < rows * g.in_h * g.in_w * g.in_c; ++i) {
    const int64_t code = random.between(0, 255) - static_cast<int64_t>(o.ranges.x.zero_code);
    x_codes.push_back(code);
    o.x.push_back(static_cast<float>(code) * o.ranges.x.scale);
  }
  const int64_t most = (int64_t{1} << (bits - 1)) - 1;
  std::vector<double> scales;
  for (int64_t i = 0; i < size * g.out_c; ++i) {
    const int64_t c = per_channel ? i % g.out_c : 0;
    const NudgedRange range = nudge_range(o.weight_min[c], o.weight_max[c], bits, true);
    const int64_t code = range.is_zero ? 0 : random.between(-most, most);
    w_codes.push_back(code);
    o.kernel.push_back(static_cast<float>(code) * range.scale);
    if (i < g.out_c) scales.push_back(static_cast<double>(range.scale) * static_cast<double>(o.ranges.x.scale));
  }
  if (!per_channel && 2 * most < kTableCodes) {
    for (int64_t i = 0; i < kTableCodes; ++i) o.table.push_back(0);
    const NudgedRange range = nudge_range(o.weight_min[0], o.weight_max[0], bits, true);
    for (int64_t code = -most; code <= most; ++code) o.table[static_cast<size_t>(code + most)] = static_cast<float>(code) * range.scale;
    for (const int64_t code : w_codes) o.indices.push_back(static_cast<uint8_t>(code + most));
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t pixel = 0; pixel < g.out_h * g.out_w; ++pixel) {
      for (int64_t c = 0; c < g.out_c; ++c) {
        int64_t sum = 0;
        for (int64_t tap = 0; tap < g.kernel_h * g.kernel_w; ++tap) {
          const int64_t h = pixel / g.out_w * g.stride_h - g.pad_top + tap / g.kernel_w;
          const int64_t w = pixel % g.out_w * g.stride_w - g.pad_left + tap % g.kernel_w;
          if (h < 0 || h >= g.in_h || w < 0 || w >= g.in_w) continue;
          for (int64_t i = 0; i < g.in_c; ++i) {
            sum += x_codes[((row * g.in_h + h) * g.in_w + w) * g.in_c + i] * w_codes[(tap * g.in_c + i) * g.out_c + c];
          }
        }
        o.exact.push_back(static_cast<double>(sum) * scales[static_cast<size_t>(c)]);
      }
    }
  }
  return o;
}

void run(Checks& checks, const ConvGeometry& g, int64_t rows, int bits, bool per_channel, Random& random) {
  Operands o = operands_of(g, rows, bits, per_channel, random);
  o.ranges.weight_min = o.weight_min.data();
  o.ranges.weight_max = o.weight_max.data();
  const std::vector<float> bias = random.floats(g.out_c);
  const Kernels* tables[kMostKernels];
  const int count = supported_kernels(tables);
  const std::string what =
      "integer products " + std::to_string(g.in_c) + " -> " + std::to_string(g.out_c) + ", " + std::to_string(bits) + " bits";
  checks.check(fits_codes(g), what + ": fits");
  for (int t = 0; t < count; ++t) {
    if (tables[t]->code_product == nullptr) continue;
    Outputs first;
    for (const int threads : {1, 3}) {
      const auto forward = [&](const Context& context) {
        Outputs y{std::vector<float>(o.exact.size())};
        conv2d_forward_codes(g, rows, o.ranges, {o.x.data()}, o.kernel.data(), bias.data(), Activation::none, y[0].data(), nullptr,
                             context);
        return y;
      };
      const Outputs y = run_once(*tables[t], threads, conv2d_codes_workspace(g, threads), forward);
      // The sum is exact: three roundings, of the sum to f32, of its scale and of the bias.
      bool close = true;
      for (size_t i = 0; i < o.exact.size(); ++i) {
        const double b = static_cast<double>(bias[i % static_cast<size_t>(g.out_c)]);
        close = close && std::fabs(static_cast<double>(y[0][i]) - o.exact[i] - b) <= 4 * kEpsilon * (std::fabs(o.exact[i]) + std::fabs(b));
      }
      checks.check(close, what + " on " + tables[t]->isa);
      if (threads == 1)
        first = y;
      else
        checks.check(y == first, what + ": threads");
    }
    if (!o.table.empty()) {
      CodeOperands by_index = o.ranges;
      by_index.table = o.table.data();
      by_index.indices = o.indices.data();
      const std::vector<float> unread(o.kernel.size(), NAN);
      const Outputs y = run_once(*tables[t], 2, conv2d_codes_workspace(g, 2), [&](const Context& context) {
        Outputs out{std::vector<float>(o.exact.size())};
        conv2d_forward_codes(g, rows, by_index, {o.x.data()}, unread.data(), bias.data(), Activation::none, out[0].data(), nullptr,
                             context);
        return out;
      });
      checks.check(y == first, what + ": by index");
    }
    // Quantizing values on the grid again gives the same ones, so a batch norm that does nothing else may be left to the convolution.
    const std::vector<float> ones(static_cast<size_t>(g.in_c), 1.0f), zeros(ones.size(), 0.0f);
    const NormOutput norm{g.in_c, o.x.data(), ones.data(), zeros.data(), make_finish(Activation::none, &o.ranges.x), false};
    std::vector<float> settled(o.x.size());
    const Outputs delayed = run_once(*tables[t], 2, conv2d_codes_workspace(g, 2), [&](const Context& context) {
      Outputs out{std::vector<float>(o.exact.size())};
      const LayerInput x{nullptr, &norm, settled.data()};
      conv2d_forward_codes(g, rows, o.ranges, x, o.kernel.data(), bias.data(), Activation::none, out[0].data(), nullptr, context);
      return out;
    });
    checks.check(delayed == first, what + ": a delayed input gives other bytes");
    // A value that is no number must not turn into a code.
    std::vector<float> spoilt = o.x;
    spoilt.back() = NAN;
    const Outputs y = run_once(*tables[t], 1, conv2d_codes_workspace(g, 1), [&](const Context& context) {
      Outputs out{std::vector<float>(o.exact.size())};
      conv2d_forward_codes(g, rows, o.ranges, {spoilt.data()}, o.kernel.data(), nullptr, Activation::relu, out[0].data(), nullptr, context);
      return out;
    });
    bool found = false;
    for (const float v : y[0]) found = found || std::isnan(v);
    checks.check(found, what + ": NaN is seen");
  }
}

}  // namespace

void test_conv_codes(Checks& checks) {
  Random random(11);
  const auto pointwise = [](int64_t h, int64_t w, int64_t in, int64_t out) {
    return ConvGeometry{h, w, in, h, w, out, 1, 1, 1, 1, 0, 0, 1, 1};
  };
  run(checks, pointwise(13, 5, 276, 70), 3, 8, true, random);
  run(checks, pointwise(5, 5, 64, 64), 7, 8, false, random);
  run(checks, pointwise(3, 3, 5, 33), 30, 4, true, random);
  run(checks, pointwise(2, 2, 1100, 17), 2, 8, true, random);  // several passes over k
  // Few pixels, cut along the columns; more columns than are packed at once.
  run(checks, pointwise(1, 1, 263, 1100), 8, 8, true, random);
  run(checks, pointwise(4, 3, 1500, 150), 5, 8, false, random);
  run(checks, pointwise(1, 1, 3, 9001), 2, 8, true, random);
  run(checks, {49, 10, 1, 25, 5, 20, 10, 4, 2, 2, 4, 1, 1, 1}, 3, 8, true, random);  // padded with the zero code
  run(checks, {9, 9, 3, 9, 9, 40, 3, 3, 1, 1, 1, 1, 1, 1}, 4, 2, false, random);
  for (const int bits : {3, 6}) {
    run(checks, pointwise(1, 1, 262, 1100), 8, bits, false, random);
    run(checks, pointwise(5, 3, 67, 200), 20, bits, false, random);
    run(checks, pointwise(2, 3, 5, 15), 2, bits, false, random);
    run(checks, {9, 9, 3, 9, 9, 97, 3, 3, 1, 1, 1, 1, 1, 1}, 2, bits, false, random);
  }
}

}  // namespace pcqat::test
