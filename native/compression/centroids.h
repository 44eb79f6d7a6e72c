// Centroid initialisation (spec 2.4). Weights must be finite and not empty.
#pragma once

#include <cstdint>
#include <vector>

namespace pcqat {

enum class CentroidMethod { linear, random, density, kmeans_plus_plus };

// k centroids for w. With `preserve_sparsity`: exactly 0, and the rest shared between the negative and the positive weights
// in proportion to their number; [0] for an all-zero weight. Fewer than k also where a sign is missing, or where there are
// fewer weights than centroids to pick.
std::vector<float> initial_centroids(const std::vector<float>& w, CentroidMethod method, int64_t k, bool preserve_sparsity, uint64_t seed);

// The methods themselves; k >= 1.
std::vector<float> linear_centroids(const std::vector<float>& w, int64_t k);
std::vector<float> random_centroids(const std::vector<float>& w, int64_t k, uint64_t seed);
std::vector<float> density_centroids(const std::vector<float>& w, int64_t k, bool preserve_sparsity);
// k <= w.size(), and squares must not overflow.
std::vector<float> kmeans_plus_plus_centroids(const std::vector<float>& w, int64_t k);

// count values from low to high as TensorFlow's linspace rounds them; the last is exactly high.
std::vector<float> linspace(float low, float high, int64_t count);

}  // namespace pcqat
