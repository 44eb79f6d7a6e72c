#include "compression/mask.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace pcqat {

float magnitude_mask(const float* w, int64_t count, float sparsity, uint8_t* mask) {
  const float exact = static_cast<float>(count) * (1.0f - sparsity);
  // The f32 product may round up past n.
  const int64_t keep = std::clamp<int64_t>(static_cast<int64_t>(std::nearbyint(exact)), 1, count);
  std::vector<float> magnitudes(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) magnitudes[static_cast<size_t>(i)] = std::fabs(w[i]);
  // One order statistic is enough; ties are all kept, so their order does not matter.
  const auto nth = magnitudes.begin() + (keep - 1);
  std::nth_element(magnitudes.begin(), nth, magnitudes.end(), [](float a, float b) { return a > b; });
  const float threshold = *nth;
  for (int64_t i = 0; i < count; ++i) mask[i] = std::fabs(w[i]) >= threshold;
  return threshold;
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

float block_mask(const float* w, int64_t rows, int64_t columns, int64_t block_rows, int64_t block_columns, BlockPooling pooling,
                 float sparsity, uint8_t* mask) {
  // A block larger than the matrix is one block.
  block_rows = std::min(block_rows, rows);
  block_columns = std::min(block_columns, columns);
  std::vector<float> magnitudes(static_cast<size_t>(rows * columns));
  for (int64_t i = 0; i < rows * columns; ++i) magnitudes[static_cast<size_t>(i)] = std::fabs(w[i]);
  const int64_t row_blocks = (rows + block_rows - 1) / block_rows, column_blocks = (columns + block_columns - 1) / block_columns;
  magnitudes = pool_axis(magnitudes, 1, rows, columns, block_rows, pooling);
  magnitudes = pool_axis(magnitudes, row_blocks, columns, 1, block_columns, pooling);
  std::vector<uint8_t> blocks(magnitudes.size());
  const float threshold = magnitude_mask(magnitudes.data(), row_blocks * column_blocks, sparsity, blocks.data());
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
