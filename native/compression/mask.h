// Pruning masks (spec 1.5). mask[i] = 1 keeps weight i. Weights must be finite, except for magnitude_mask, which says so.
#pragma once

#include <cstdint>

namespace pcqat {

struct CompressionKernels;

// What happens to weights that are exactly zero when the threshold is zero too: they tie with it and stay, as in the
// reference (W25), or stay pruned unless every weight is zero.
enum class ZeroWeights { keep, prune };

// Keeps the max(round_half_even(f32(n) * (1 - sparsity)), 1) largest magnitudes and everything that ties with the
// smallest of them, whose magnitude is the threshold. Returns false, with nothing written, when a weight is not finite.
bool magnitude_mask(const CompressionKernels& k, const float* w, int64_t count, float sparsity, ZeroWeights zeros, uint8_t* mask,
                    float* threshold);

enum class BlockPooling { average, maximum };

// The same rule on blocks of a matrix: magnitudes are pooled (SAME padding, as TensorFlow), the pooled matrix is masked and
// every block bit is expanded from row and column 0.
float block_mask(const CompressionKernels& k, const float* w, int64_t rows, int64_t columns, int64_t block_rows, int64_t block_columns,
                 BlockPooling pooling, float sparsity, uint8_t* mask);

// Of every n consecutive input-channel values, m zeros; ties keep the lower index. The weight is [.., in, out]: `outer`
// positions (1 for a dense kernel, h * w for a convolution).
void m_by_n_mask(const float* w, int64_t outer, int64_t in, int64_t out, int64_t m, int64_t n, uint8_t* mask);

// The threshold that the reference stores for m-by-n masks.
constexpr float kMByNThreshold = 999.0f;

}  // namespace pcqat
