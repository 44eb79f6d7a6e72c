// The magnitude mask against sorting, on every instruction set: threshold and mask are equal to the bit.
#include "compression/mask.h"

#include <algorithm>
#include <cmath>

#include "check.h"
#include "simd/compression_kernels.h"

namespace pcqat::test {
namespace {

void compare(Checks& checks, const std::vector<float>& w, float sparsity, const std::string& what) {
  const int64_t count = static_cast<int64_t>(w.size());
  std::vector<float> sorted;
  for (const float v : w) sorted.push_back(std::fabs(v));
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const float exact = static_cast<float>(count) * (1.0f - sparsity);
  const int64_t keep = std::min(count, std::max<int64_t>(static_cast<int64_t>(std::nearbyint(exact)), 1));
  const float expected = sorted[static_cast<size_t>(keep - 1)];
  const Kernels* tables[5];
  const int found = supported_kernels(tables);
  for (int t = 0; t < found; ++t) {
    for (const ZeroWeights zeros : {ZeroWeights::keep, ZeroWeights::prune}) {
      std::vector<uint8_t> mask(w.size(), 7);
      float threshold = -1;
      bool same = magnitude_mask(*tables[t]->compression, w.data(), count, sparsity, zeros, mask.data(), &threshold);
      same = same && threshold == expected;
      for (size_t i = 0; i < w.size(); ++i) {
        const bool stays_pruned = zeros == ZeroWeights::prune && w[i] == 0 && sorted[0] != 0;
        same = same && mask[i] == (std::fabs(w[i]) >= expected && !stays_pruned ? 1 : 0);
      }
      checks.check(same,
                   "magnitude mask of " + std::to_string(count) + " " + what + " at " + std::to_string(sparsity) + " on " + tables[t]->isa);
    }
  }
}

// Weights whose sample says nothing about the others: the bracket misses, and the mask must not.
std::vector<float> misleading(Random& random, int64_t count) {
  std::vector<float> w = random.floats(count, -0.001, 0.001);
  uint64_t state = 0;  // the generator of mask.cpp
  for (int64_t i = 0; i < static_cast<int64_t>(std::cbrt(static_cast<double>(count) * static_cast<double>(count))); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double position = static_cast<double>(state >> 11) * 0x1p-53 * static_cast<double>(count);
    w[static_cast<size_t>(position)] = 1 + static_cast<float>(i) * 0.001f;
  }
  return w;
}

}  // namespace

void test_mask(Checks& checks) {
  Random random(9);
  for (const int64_t count : {1, 2, 15, 16, 17, 1000, 8193, 30000, 300001}) {
    for (const float sparsity : {0.0f, 0.01f, 0.5f, 0.9f, 0.9999f}) {
      compare(checks, random.floats(count), sparsity, "weights");
      std::vector<float> ties = random.floats(count);
      for (float& v : ties) v = std::nearbyint(v * 4) / 4;
      compare(checks, ties, sparsity, "weights with ties");
      std::vector<float> sparse = random.floats(count);
      for (size_t i = 0; i < sparse.size(); ++i) {
        if (i % 10 != 0) sparse[i] = i % 2 == 0 ? 0.0f : -0.0f;
        if (i % 50 == 0) sparse[i] = 1e-41f;  // a denormal is not zero
      }
      compare(checks, sparse, sparsity, "weights, most of them 0");
    }
    compare(checks, std::vector<float>(static_cast<size_t>(count), 0.0f), 0.5f, "zeros");
    compare(checks, misleading(random, count), 0.5f, "weights with a misleading sample");
  }
  const Kernels* tables[5];
  const int found = supported_kernels(tables);
  for (int t = 0; t < found; ++t) {
    for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
      for (const size_t at : {size_t{0}, size_t{17}, size_t{20000}}) {
        std::vector<float> w = random.floats(20001);
        w[at] = bad;
        std::vector<uint8_t> mask(w.size(), 7);
        float threshold = 5;
        const bool done = magnitude_mask(*tables[t]->compression, w.data(), 20001, 0.5f, ZeroWeights::keep, mask.data(), &threshold);
        checks.check(!done && threshold == 5 && mask == std::vector<uint8_t>(w.size(), 7),
                     std::string("a magnitude mask refuses weights that are not finite on ") + tables[t]->isa);
      }
    }
  }
}

}  // namespace pcqat::test
