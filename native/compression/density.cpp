// Density-based initialisation: centroids at evenly spaced probabilities of the cumulative distribution.
#include <algorithm>
#include <cmath>

#include "compression/centroids.h"

namespace pcqat {

namespace {

constexpr int64_t kGrid = 30;

// The reference draws a line through grid points j <= i and solves it at F_i, which lies on the line: algebraically x_i,
// but the rounding of these operations is part of the recorded values. Its slope guard is always in effect (x_j < x_i).
float solve_line(float x_j, float f_j, float x_i, float f_i) {
  if (f_i == f_j) return x_i;
  const float a = (f_j - f_i) / std::max(x_j - x_i, 0.001f);
  const float b = f_i - x_i * a;
  return (f_i - b) / a;
}

}  // namespace

std::vector<float> density_centroids(const std::vector<float>& w, int64_t k, bool preserve_sparsity) {
  const auto [low, high] = std::minmax_element(w.begin(), w.end());
  // The gap must not carry a centroid of one sign across zero.
  const float gap = preserve_sparsity ? std::min(0.01f, std::min(std::fabs(*low), std::fabs(*high)) / 2) : 0.01f;
  const std::vector<float> grid = linspace(*low - gap, *high + gap, kGrid);
  std::vector<float> sorted(w);
  std::sort(sorted.begin(), sorted.end());
  std::vector<float> distribution;
  for (const float x : grid) {
    const auto below = std::upper_bound(sorted.begin(), sorted.end(), x) - sorted.begin();
    distribution.push_back(static_cast<float>(below) / static_cast<float>(w.size()));
  }
  std::vector<float> centroids;
  for (const float probability : linspace(0.01f, 1.0f, k)) {
    const int64_t reached = std::upper_bound(distribution.begin(), distribution.end(), probability) - distribution.begin();
    const size_t i = static_cast<size_t>(std::min(reached, kGrid - 1)), j = i == 0 ? 0 : i - 1;
    centroids.push_back(solve_line(grid[j], distribution[j], grid[i], distribution[i]));
  }
  return centroids;
}

}  // namespace pcqat
