// The int8 kernels that requantize in registers, beside the plain kernels of the scalar table (which the TypeScript tests hold to TFLite).
#include <algorithm>

#include "check.h"
#include "simd/int8_kernels.h"

namespace pcqat::test {

namespace {

// How far the tests look past what a kernel may write.
constexpr int64_t kGuard = 64;

int64_t padded_to_block(int64_t n) { return (n + kInt8Block - 1) / kInt8Block * kInt8Block; }

struct Constants {
  std::vector<int32_t> bias, multiplier, left, right;
  int32_t zero_point, low, high;
  Requantization view() const { return {multiplier.data(), left.data(), right.data(), zero_point, low, high}; }
};

Constants constants_of(int64_t n, int64_t products, Random& random) {
  Constants c{std::vector<int32_t>(padded_to_block(n)),
              std::vector<int32_t>(padded_to_block(n)),
              std::vector<int32_t>(padded_to_block(n)),
              std::vector<int32_t>(padded_to_block(n)),
              static_cast<int32_t>(random.between(-128, 127)),
              -128,
              127};
  if (random.between(0, 1) == 1) c.low = c.zero_point;
  if (random.between(0, 3) == 3) c.high = static_cast<int32_t>(random.between(c.low, 127));
  int shift = 1;  // large enough for most sums to stay inside the bounds
  while ((products << 13 >> shift) > 200 && shift < 20) ++shift;
  for (int64_t i = 0; i < n; ++i) {
    c.bias[i] = static_cast<int32_t>(random.between(-3000, 3000));
    // The ends of the multiplier's range too.
    const int64_t kind = random.between(0, 9);
    c.multiplier[i] = static_cast<int32_t>(kind == 0   ? int64_t{1} << 30
                                           : kind == 1 ? INT32_MAX
                                                       : random.between(int64_t{1} << 30, INT32_MAX));
    c.right[i] = static_cast<int32_t>(std::clamp<int64_t>(shift + random.between(-2, 1), 1, 20));
  }
  return c;
}

std::vector<int8_t> codes(int64_t count, int64_t low, Random& random) {
  std::vector<int8_t> values(count + kInt8Overread);
  for (int8_t& value : values)
    value = static_cast<int8_t>(random.between(0, 7) == 0 ? (random.between(0, 1) ? 127 : low) : random.between(low, 127));
  return values;
}

struct ProductShape {
  int64_t m, n, segments, taps;
};

void test_product(Checks& checks, const Int8Kernels& scalar, const FusedInt8Kernels& fused, const ProductShape& shape, Random& random) {
  const auto [m, n, segments, taps] = shape;
  const int64_t k = segments * taps;
  const std::string name = "fused product " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + " in " +
                           std::to_string(segments) + " segments";
  const Constants c = constants_of(n, k, random);
  // Rows may overlap, as windows do.
  const int64_t stride = random.between(1, k + 5), ldc = n + random.between(0, 1) * random.between(0, 3);
  std::vector<int64_t> offsets;
  for (int64_t s = 0; s < segments; ++s) offsets.push_back(s * (taps + 2) + random.between(0, 2));
  const std::vector<int8_t> a = codes((m - 1) * stride + offsets.back() + taps, -128, random), w = codes(n * k, -127, random);
  std::vector<int8_t> dense;
  for (int64_t i = 0; i < m; ++i) {
    for (const int64_t offset : offsets) dense.insert(dense.end(), &a[i * stride + offset], &a[i * stride + offset] + taps);
  }
  dense.resize(dense.size() + kInt8Overread);
  std::vector<uint8_t> plain(scalar.packed_bytes(n, k)), packed(fused.packed_bytes(n, segments, taps));
  scalar.pack(w.data(), c.bias.data(), n, k, plain.data());
  checks.check(fused.pack(w.data(), c.bias.data(), n, segments, taps, c.view(), packed.data()), name + " packs");
  std::vector<int32_t> acc(m * padded_to_block(n));
  scalar.matmul(dense.data(), m, k, plain.data(), n, k, acc.data(), padded_to_block(n));
  std::vector<int8_t> expected(m * ldc + kGuard, 99), out = expected;
  for (int64_t i = 0; i < m; ++i) scalar.requantize(acc.data() + i * padded_to_block(n), n, c.view(), expected.data() + i * ldc);
  const CodeRows rows{a.data(), m, stride, offsets.data(), segments, taps};
  fused.matmul(rows, packed.data(), n, c.view(), out.data(), ldc);
  checks.check(out == expected, name);
  if (n <= FusedInt8Kernels::kColumns) return;
  const int64_t first = FusedInt8Kernels::kColumns;
  std::fill(out.begin(), out.end(), int8_t{99});
  fused.matmul(rows, packed.data(), first, c.view(), out.data(), ldc);
  fused.matmul(rows, packed.data() + fused.packed_bytes(first, segments, taps), n - first, c.view(), out.data() + first, ldc);
  checks.check(out == expected, name + " in two parts");
}

void test_row(Checks& checks, const Int8Kernels& scalar, const FusedInt8Kernels& fused, const DepthwiseRow& shape, Random& random) {
  const int64_t channels = shape.channels, taps = shape.kernel_h * shape.kernel_w;
  const int64_t reach = (shape.kernel_w - 1) * shape.dilation_w, part = shape.out_w + reach / shape.stride_w;
  const std::string name = "fused depthwise " + std::to_string(shape.kernel_h) + "x" + std::to_string(shape.kernel_w) + " stride " +
                           std::to_string(shape.stride_w) + " dilation " + std::to_string(shape.dilation_w) + ", " +
                           std::to_string(shape.out_w) + " outputs of " + std::to_string(channels);
  const Constants c = constants_of(channels, taps, random);
  const std::vector<int8_t> w = codes(taps * channels, -127, random);
  std::vector<std::vector<int8_t>> rows;
  std::vector<const int8_t*> lines;
  for (int64_t ky = 0; ky < shape.kernel_h; ++ky) rows.push_back(codes(shape.stride_w * part * channels, -128, random));
  for (const auto& row : rows) lines.push_back(row.data());
  std::vector<int64_t> offsets;
  for (int64_t kx = 0; kx < shape.kernel_w; ++kx) {
    const int64_t column = kx * shape.dilation_w;
    offsets.push_back((column % shape.stride_w * part + column / shape.stride_w) * channels);
  }
  std::vector<uint8_t> packed(fused.depthwise_bytes(channels, shape.kernel_h, shape.kernel_w));
  checks.check(fused.pack_depthwise(w.data(), c.bias.data(), channels, shape.kernel_h, shape.kernel_w, c.view(), packed.data()),
               name + " packs");
  std::vector<int8_t> expected(shape.out_w * channels + kGuard, 99), out = expected;
  std::vector<int32_t> wide(w.begin(), w.begin() + taps * channels), acc(padded_to_block(channels));
  for (int64_t x = 0; x < shape.out_w; ++x) {
    std::vector<const int8_t*> places;
    for (int64_t t = 0; t < taps; ++t) places.push_back(lines[t / shape.kernel_w] + offsets[t % shape.kernel_w] + x * channels);
    scalar.depthwise(places.data(), taps, wide.data(), c.bias.data(), channels, acc.data());
    scalar.requantize(acc.data(), channels, c.view(), expected.data() + x * channels);
  }
  DepthwiseRow row = shape;
  row.lines = lines.data(), row.offsets = offsets.data();
  fused.depthwise(row, packed.data(), c.view(), out.data());
  checks.check(out == expected, name);
}

void test_three(Checks& checks, const Int8Kernels& scalar, const FusedInt8Kernels& fused, const DepthwiseImage& shape, int64_t out_h,
                Random& random) {
  const int64_t channels = shape.channels, taps = 9;
  const std::string name = "fused depthwise 3x3 of " + std::to_string(shape.in_h) + "x" + std::to_string(shape.in_w) + "x" +
                           std::to_string(channels) + " stride " + std::to_string(shape.stride_h) + "x" + std::to_string(shape.stride_w) +
                           " padded " + std::to_string(shape.pad_top) + "x" + std::to_string(shape.pad_left);
  const Constants c = constants_of(channels, taps, random);
  const std::vector<int8_t> w = codes(taps * channels, -127, random);
  // Nothing before the image may count, nor what follows it.
  const std::vector<int8_t> memory = codes(kGuard + shape.in_h * shape.in_w * channels, -128, random);
  DepthwiseImage image = shape;
  image.input = memory.data() + kGuard;
  const std::vector<int8_t> outside(shape.in_w * channels + kInt8Overread, static_cast<int8_t>(random.between(-128, 127)));
  image.outside = outside.data();
  std::vector<uint8_t> packed(fused.depthwise_bytes(channels, 3, 3));
  checks.check(fused.pack_depthwise(w.data(), c.bias.data(), channels, 3, 3, c.view(), packed.data()), name + " packs");
  std::vector<int8_t> expected(out_h * shape.out_w * channels + kGuard, 99), out = expected;
  std::vector<int32_t> wide(w.begin(), w.begin() + taps * channels), acc(padded_to_block(channels));
  for (int64_t i = 0; i < out_h * shape.out_w; ++i) {
    std::vector<const int8_t*> places;
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t y = i / shape.out_w * shape.stride_h - shape.pad_top + t / 3;
      const int64_t x = i % shape.out_w * shape.stride_w - shape.pad_left + t % 3;
      const bool inside = y >= 0 && y < shape.in_h && x >= 0 && x < shape.in_w;
      places.push_back(inside ? image.input + (y * shape.in_w + x) * channels : outside.data());
    }
    scalar.depthwise(places.data(), taps, wide.data(), c.bias.data(), channels, acc.data());
    scalar.requantize(acc.data(), channels, c.view(), expected.data() + i * channels);
  }
  const int64_t middle = random.between(0, out_h);
  fused.depthwise_three(image, 0, middle, packed.data(), c.view(), out.data());
  fused.depthwise_three(image, middle, out_h, packed.data(), c.view(), out.data() + middle * shape.out_w * channels);
  checks.check(out == expected, name);
}

// What the shorter arithmetic does not cover must be refused.
void test_refusals(Checks& checks, const FusedInt8Kernels& fused) {
  const std::vector<int8_t> w(4, 1);
  std::vector<uint8_t> packed(std::max(fused.packed_bytes(1, 1, 4), fused.depthwise_bytes(1, 2, 2)));
  const auto packs = [&](int32_t bias, int32_t left, int32_t right) {
    std::vector<int32_t> biases(kInt8Block), multiplier(kInt8Block, INT32_MAX), lefts(kInt8Block, left), rights(kInt8Block, right);
    biases[0] = bias;
    const Requantization p{multiplier.data(), lefts.data(), rights.data(), -128, -128, 127};
    const bool product = fused.pack(w.data(), biases.data(), 1, 1, 4, p, packed.data());
    checks.check(product == fused.pack_depthwise(w.data(), biases.data(), 1, 2, 2, p, packed.data()), "both fused kernels refuse alike");
    return product;
  };
  checks.check(packs(100, 0, 5), "a common requantization is taken");
  checks.check(!packs(100, 1, 0), "a multiplier of 1 and more is refused");
  checks.check(!packs(100, 0, 0), "a multiplier without a shift is refused");
  checks.check(!packs(100, 0, 21), "a tiny multiplier is refused");
  checks.check(!packs(INT32_MAX, 0, 5) && !packs(INT32_MIN, 0, 5), "sums near 2^31 are refused");
}

}  // namespace

void test_int8_fused(Checks& checks) {
  const Kernels* tables[kMostKernels];
  const int count = supported_kernels(tables);
  const Int8Kernels& scalar = *find_kernels("scalar")->int8;
  for (int t = 0; t < count; ++t) {
    const FusedInt8Kernels* fused = tables[t]->int8->fused;
    if (fused == nullptr) continue;
    Random random(17);
    for (const int64_t n : {1, 7, 8, 12, 16, 17, 31, 32, 33, 47, 48, 50, 63, 64, 65, 84, 128, 276}) {
      for (const int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 48})
        test_product(checks, scalar, *fused, {m, n, random.between(1, 3), random.between(1, 40)}, random);
    }
    for (int i = 0; i < 200; ++i) {
      const ProductShape shape{random.between(1, 30), random.between(1, 200), random.between(1, 5), random.between(1, 80)};
      test_product(checks, scalar, *fused, shape, random);
    }
    for (const int64_t channels : {1, 2, 3, 8, 16, 20, 24, 32, 48, 63, 64, 65, 96, 128, 276}) {
      for (const int64_t kernel : {1, 2, 3, 4, 5, 7}) {
        for (const int64_t stride : {1, 2, 3}) {
          for (const int64_t dilation : {1, 2}) {
            const int64_t width = kernel == 4 ? 3 : kernel;
            test_row(checks, scalar, *fused, {nullptr, nullptr, kernel, width, stride, dilation, random.between(1, 12), channels}, random);
          }
        }
      }
    }
    for (const int64_t channels : {8, 12, 16, 24, 32, 48, 63, 64, 65, 96, 128, 276}) {
      for (int i = 0; i < 24; ++i) {
        const int64_t stride_h = random.between(1, 3), stride_w = random.between(1, 2), out_h = random.between(1, 7);
        const int64_t out_w = random.between(1, 20), top = random.between(0, 2), left = random.between(0, 2);
        const int64_t in_h = std::max<int64_t>((out_h - 1) * stride_h + 3 - top - random.between(0, 2), 1);
        const int64_t in_w = std::max<int64_t>((out_w - 1) * stride_w + 3 - left - random.between(0, 2), 1);
        test_three(checks, scalar, *fused, {nullptr, nullptr, in_h, in_w, out_w, channels, stride_h, stride_w, top, left}, out_h, random);
      }
    }
    test_refusals(checks, *fused);
  }
}

}  // namespace pcqat::test
