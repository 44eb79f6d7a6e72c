#include "compression/mask.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "simd/compression_kernels.h"

namespace pcqat {

namespace {

constexpr int32_t kInfinity = 0x7f800000;

int32_t magnitude_bits(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffff;
}

// Open below, half open above: (low, high) by the bits of magnitudes, and the ones equal to low beside them.
struct Bracket {
  int32_t low, high;
};

constexpr Bracket kEverything{-1, kInfinity};

// Below this, finding the magnitude takes less time than drawing a sample.
constexpr int64_t kFew = 8192;

// Where the magnitude of this rank (1 = largest) lies, from weights drawn at random (with a generator of its own, so that
// the layout of the weight cannot matter): five standard deviations of the rank in the sample to each side. A miss costs
// time, not correctness.
Bracket likely_bracket(const float* w, int64_t count, int64_t rank) {
  // Balances the sample with what it leaves between the ends.
  std::vector<int32_t> sample(static_cast<size_t>(std::cbrt(static_cast<double>(count) * static_cast<double>(count))));
  uint64_t state = 0;
  for (int32_t& bits : sample) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    // The upper bits of the generator are its random ones.
    const double position = static_cast<double>(state >> 11) * 0x1p-53 * static_cast<double>(count);
    bits = magnitude_bits(w[static_cast<int64_t>(position)]);
  }
  const double size = static_cast<double>(sample.size()), share = static_cast<double>(rank) / static_cast<double>(count);
  const double expected = share * size, margin = 5 * std::sqrt(size * share * (1 - share)) + 5;
  // Ends of the sample say nothing about what lies beyond them.
  Bracket bracket = kEverything;
  auto begin = sample.begin();
  const auto at = [&](double position) {
    const auto nth = sample.begin() + static_cast<int64_t>(position);
    std::nth_element(begin, nth, sample.end(), std::greater<>());
    begin = nth;
    return *nth;
  };
  if (expected - margin >= 0) bracket.high = at(expected - margin) + 1;
  if (expected + margin < size) bracket.low = at(expected + margin);
  return bracket;
}

// Bits of the magnitude of this rank; kInfinity and more if a weight is not finite.
int32_t magnitude_of_rank(const CompressionKernels& k, const float* w, int64_t count, int64_t rank) {
  constexpr int64_t kPiece = 16384, kRoom = kPiece + 16;
  // A few percent lie between, as a rule. Room for all would be paid for in pages from the system.
  std::vector<float> between(static_cast<size_t>(count / 16 + kRoom));
  const auto sift = [&](Bracket bracket) {
    MagnitudeSieve sieve;
    for (int64_t i = 0; i < count; i += kPiece) {
      if (static_cast<int64_t>(between.size()) < sieve.between_count + kRoom) between.resize(2 * between.size());
      sieve.between = between.data();
      k.sift_magnitudes(std::min(kPiece, count - i), w + i, bracket.low, bracket.high, &sieve);
    }
    return sieve;
  };
  Bracket bracket = count <= kFew ? kEverything : likely_bracket(w, count, rank);
  MagnitudeSieve sieve = sift(bracket);
  if (sieve.largest >= kInfinity) return sieve.largest;
  if (rank <= sieve.above || rank > sieve.above + sieve.between_count + sieve.equal) sieve = sift(bracket = kEverything);
  const int64_t position = rank - sieve.above;
  if (position > sieve.between_count) return bracket.low;
  // Half of them gone is what makes another round worth it; many equal ones need not go.
  if (sieve.between_count > kFew && 2 * sieve.between_count < count)
    return magnitude_of_rank(k, between.data(), sieve.between_count, position);
  const auto nth = between.begin() + (position - 1);
  std::nth_element(between.begin(), nth, between.begin() + sieve.between_count, std::greater<>());
  return magnitude_bits(*nth);
}

}  // namespace

bool magnitude_mask(const CompressionKernels& k, const float* w, int64_t count, float sparsity, ZeroWeights zeros, uint8_t* mask,
                    float* threshold) {
  const float exact = static_cast<float>(count) * (1.0f - sparsity);
  // The f32 product may round up past n.
  const int64_t keep = std::clamp<int64_t>(static_cast<int64_t>(std::nearbyint(exact)), 1, count);
  const int32_t bits = magnitude_of_rank(k, w, count, keep);
  if (bits >= kInfinity) return false;
  std::memcpy(threshold, &bits, sizeof bits);
  // Ties are all kept, so their order does not matter.
  const bool prunes_zeros =
      bits == 0 && zeros == ZeroWeights::prune && std::any_of(w, w + count, [](float v) { return magnitude_bits(v) != 0; });
  k.mark_magnitudes(count, w, prunes_zeros ? 1 : bits, mask);
  return true;
}

namespace {

// Pools |w| along one axis. The matrix is seen as [outer, length, inner]; window and stride are `block`. TensorFlow's SAME
// puts the smaller half of the padding in front, which the window then simply lacks.
std::vector<float> pool_axis(const std::vector<float>& x, int64_t outer, int64_t length, int64_t inner, int64_t block,
                             BlockPooling pooling) {
  const int64_t blocks = (length + block - 1) / block;
  const int64_t before = (blocks * block - length) / 2;
  std::vector<float> pooled(static_cast<size_t>(outer * blocks * inner));
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t begin = std::max<int64_t>(b * block - before, 0), end = std::min(length, (b + 1) * block - before);
      for (int64_t i = 0; i < inner; ++i) {
        float value = pooling == BlockPooling::maximum ? -std::numeric_limits<float>::infinity() : 0.0f;
        for (int64_t l = begin; l < end; ++l) {
          const float element = x[static_cast<size_t>((o * length + l) * inner + i)];
          value = pooling == BlockPooling::maximum ? std::max(value, element) : value + element;
        }
        if (pooling == BlockPooling::average) value /= static_cast<float>(end - begin);
        pooled[static_cast<size_t>((o * blocks + b) * inner + i)] = value;
      }
    }
  }
  return pooled;
}

}  // namespace

float block_mask(const CompressionKernels& k, const float* w, int64_t rows, int64_t columns, int64_t block_rows, int64_t block_columns,
                 BlockPooling pooling, float sparsity, uint8_t* mask) {
  // A block larger than the matrix is one block.
  block_rows = std::min(block_rows, rows);
  block_columns = std::min(block_columns, columns);
  std::vector<float> magnitudes(static_cast<size_t>(rows * columns));
  for (int64_t i = 0; i < rows * columns; ++i) magnitudes[static_cast<size_t>(i)] = std::fabs(w[i]);
  const int64_t row_blocks = (rows + block_rows - 1) / block_rows, column_blocks = (columns + block_columns - 1) / block_columns;
  magnitudes = pool_axis(magnitudes, 1, rows, columns, block_rows, pooling);
  magnitudes = pool_axis(magnitudes, row_blocks, columns, 1, block_columns, pooling);
  std::vector<uint8_t> blocks(magnitudes.size());
  float threshold = 0;
  magnitude_mask(k, magnitudes.data(), row_blocks * column_blocks, sparsity, ZeroWeights::keep, blocks.data(), &threshold);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      mask[r * columns + c] = blocks[static_cast<size_t>((r / block_rows) * column_blocks + c / block_columns)];
    }
  }
  return threshold;
}

void m_by_n_mask(const float* w, int64_t outer, int64_t in, int64_t out, int64_t m, int64_t n, uint8_t* mask) {
  std::fill(mask, mask + outer * in * out, uint8_t{0});
  const int64_t group_size = std::min(n, in);
  std::vector<int64_t> order(static_cast<size_t>(group_size));
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t c = 0; c < out; ++c) {
      const auto at = [&](int64_t i) { return (o * in + i) * out + c; };
      for (int64_t begin = 0; begin < in; begin += group_size) {
        // A short last group is padded with zeros in the reference; padding never wins against a weight.
        const int64_t size = std::min(group_size, in - begin), keep = std::min(n - m, size);
        std::iota(order.begin(), order.begin() + size, begin);
        std::stable_sort(order.begin(), order.begin() + size,
                         [&](int64_t a, int64_t b) { return std::fabs(w[at(a)]) > std::fabs(w[at(b)]); });
        for (int64_t i = 0; i < keep; ++i) mask[at(order[static_cast<size_t>(i)])] = 1;
      }
    }
  }
}

}  // namespace pcqat
