#include "ops/concat.h"

#include "check.h"

namespace pcqat::test {

namespace {

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
  checks.everywhere(
      "concat " + std::to_string(pixels) + "x(" + std::to_string(first) + "+" + std::to_string(second) + ")", [](int) { return size_t{0}; },
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

}  // namespace

void test_concat(Checks& checks) {
  Random random(71);
  for (const int64_t pixels : {1, 37, 5000}) run_concat(checks, pixels, 3, 20, random);
}

}  // namespace pcqat::test
