#include "compression/centroids.h"

#include <algorithm>
#include <cmath>

#include "compression/philox.h"
#include "error.h"

namespace pcqat {

std::vector<float> linspace(float low, float high, int64_t count) {
  std::vector<float> points{low};
  const float delta = (high - low) / static_cast<float>(count - 1);
  for (int64_t i = 1; i < count; ++i) points.push_back(i == count - 1 ? high : low + static_cast<float>(i) * delta);
  return points;
}

std::vector<float> linear_centroids(const std::vector<float>& w, int64_t k) {
  const auto [low, high] = std::minmax_element(w.begin(), w.end());
  return linspace(*low, *high, k);
}

std::vector<float> random_centroids(const std::vector<float>& w, int64_t k, uint64_t seed) {
  const auto [low, high] = std::minmax_element(w.begin(), w.end());
  Philox generator(seed);
  std::vector<float> centroids;
  for (int64_t i = 0; i < k; ++i) {
    const float u = generator.uniform();
    // Interpolated so that opposite huge ends do not overflow; rounding must not reach the open end.
    const float value = *low * (1.0f - u) + *high * u;
    centroids.push_back(std::clamp(value, *low, std::max(*low, std::nextafter(*high, *low))));
  }
  return centroids;
}

namespace {

std::vector<float> centroids_of(const std::vector<float>& w, CentroidMethod method, int64_t k, bool preserve_sparsity, uint64_t seed) {
  switch (method) {
    case CentroidMethod::linear: return linear_centroids(w, k);
    case CentroidMethod::random: return random_centroids(w, k, seed);
    case CentroidMethod::density: return density_centroids(w, k, preserve_sparsity);
    case CentroidMethod::kmeans_plus_plus: return kmeans_plus_plus_centroids(w, k);
  }
  throw Error("ERR_INTERNAL", "Unknown centroid method.");
}

}  // namespace

std::vector<float> initial_centroids(const std::vector<float>& w, CentroidMethod method, int64_t k, bool preserve_sparsity, uint64_t seed) {
  if (!preserve_sparsity) return centroids_of(w, method, k, false, seed);
  std::vector<float> negative, positive;
  for (const float value : w) {
    if (value < 0) negative.push_back(value);
    if (value > 0) positive.push_back(value);
  }
  const int64_t negatives = static_cast<int64_t>(negative.size()), positives = static_cast<int64_t>(positive.size());
  if (negatives + positives == 0) return {0.0f};
  int64_t below = std::llrint(static_cast<double>(k - 1) * static_cast<double>(negatives) / static_cast<double>(negatives + positives));
  int64_t above = k - 1 - below;
  if (method == CentroidMethod::kmeans_plus_plus) {
    // k-means++ cannot pick more points than there are, and the reference fails (W30). What one sign cannot use, the other gets.
    if (below > negatives) {
      below = negatives;
      above = k - 1 - below;
    }
    above = std::min(above, positives);
    below = std::min(k - 1 - above, negatives);
  }
  std::vector<float> centroids;
  // Rounding in the density method may carry a centroid of tiny weights across zero; its side is part of the result.
  if (below > 0 && negatives > 0) {
    for (const float value : centroids_of(negative, method, below, true, seed)) centroids.push_back(std::min(value, 0.0f));
  }
  centroids.push_back(0.0f);
  if (above > 0 && positives > 0) {
    // Another stream than the negative side's, so that RANDOM does not mirror it.
    for (const float value : centroids_of(positive, method, above, true, seed ^ 0x9E3779B97F4A7C15u))
      centroids.push_back(std::max(value, 0.0f));
  }
  return centroids;
}

}  // namespace pcqat
