// k-means++ (Arthur & Vassilvitskii 2007) exactly as TensorFlow's operator computes it with seed 9: the random stream, the
// f32 rounding and the order of every sum are part of the recorded values.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "compression/centroids.h"
#include "compression/philox.h"
#include "error.h"

namespace pcqat {

namespace {

constexpr uint64_t kSeed = 9;

// The reference redraws an index that was already chosen. Rounding can leave only chosen ones; then give up.
constexpr int kMaxDraws = 1000;

// Sum in the order of Eigen's vectorised reduction with 8 lanes and two accumulators.
float eigen_sum(const std::vector<float>& x) {
  const size_t count = x.size(), groups = count / 8, pairs = count / 16;
  float total = 0;
  if (groups > 0) {
    float a[8], b[8] = {};
    for (size_t lane = 0; lane < 8; ++lane) a[lane] = x[lane];
    if (pairs > 0) {
      for (size_t lane = 0; lane < 8; ++lane) b[lane] = x[8 + lane];
      for (size_t pair = 1; pair < pairs; ++pair) {
        for (size_t lane = 0; lane < 8; ++lane) {
          a[lane] += x[pair * 16 + lane];
          b[lane] += x[pair * 16 + 8 + lane];
        }
      }
      for (size_t lane = 0; lane < 8; ++lane) a[lane] += b[lane];
      if (groups % 2 != 0) {
        for (size_t lane = 0; lane < 8; ++lane) a[lane] += x[pairs * 16 + lane];
      }
    }
    float r[4];
    for (size_t lane = 0; lane < 4; ++lane) r[lane] = a[lane] + a[lane + 4];
    total = (r[0] + r[2]) + (r[1] + r[3]);
  }
  for (size_t i = groups * 8; i < count; ++i) total += x[i];
  return total;
}

class Picker {
 public:
  explicit Picker(const std::vector<float>& points)
      : points_(points), half_squares_(points.size()), distances_(points.size(), std::numeric_limits<float>::infinity()),
        chosen_(points.size(), false), cumulative_(points.size()), generator_(kSeed) {
    for (size_t i = 0; i < points.size(); ++i) half_squares_[i] = 0.5f * (points[i] * points[i]);
  }

  // Picks the best of `candidates` draws. Returns the point.
  float pick(int candidates) {
    const bool first = std::isinf(distances_[0]);
    if (!first) {
      float sum = 0;
      for (size_t i = 0; i < points_.size(); ++i) cumulative_[i] = sum += distances_[i];
    }
    size_t best = points_.size();
    float best_potential = std::numeric_limits<float>::infinity();
    std::vector<float> best_distances;
    for (int candidate = 0; candidate < candidates; ++candidate) {
      const size_t index = draw(first);
      // All distances are zero (more centroids than distinct values): the reference emits the last point again and again.
      if (index == points_.size()) return points_.back();
      distances_to(index);
      const float potential = eigen_sum(scratch_);
      if (potential < best_potential) {
        best_potential = potential;
        best = index;
        best_distances = scratch_;
      }
    }
    distances_ = std::move(best_distances);
    chosen_[best] = true;
    return points_[best];
  }

 private:
  size_t draw(bool first) {
    for (int draws = 0; draws < kMaxDraws; ++draws) {
      if (first) return static_cast<size_t>(generator_.below(points_.size()));
      const float target = generator_.uniform() * cumulative_.back();
      const size_t index = static_cast<size_t>(std::upper_bound(cumulative_.begin(), cumulative_.end(), target) - cumulative_.begin());
      if (index == points_.size() || !chosen_[index]) return index;
    }
    return points_.size();
  }

  void distances_to(size_t index) {
    scratch_.resize(points_.size());
    const float y = points_[index], half_square = half_squares_[index];
    for (size_t i = 0; i < points_.size(); ++i) {
      scratch_[i] = std::min(distances_[i], (half_squares_[i] - points_[i] * y) + half_square);
    }
  }

  const std::vector<float>& points_;
  std::vector<float> half_squares_, distances_;
  std::vector<bool> chosen_;
  std::vector<float> cumulative_, scratch_;
  Philox generator_;
};

}  // namespace

std::vector<float> kmeans_plus_plus_centroids(const std::vector<float>& w, int64_t k) {
  if (k > static_cast<int64_t>(w.size())) {
    throw Error("ERR_OPTION", "k-means++ cannot pick " + std::to_string(k) + " centroids from " + std::to_string(w.size()) +
                                  " weights. Use fewer clusters or another initialiser.");
  }
  // Sums of squared distances must stay finite.
  const float largest = std::sqrt(FLT_MAX / 8 / static_cast<float>(w.size()));
  for (size_t i = 0; i < w.size(); ++i) {
    if (std::fabs(w[i]) > largest) {
      throw Error("ERR_OPTION", "Weight " + std::to_string(i) + " is so large that k-means++ would overflow. Use another initialiser.");
    }
  }
  const int candidates = 1 + 2 + static_cast<int>(std::log(static_cast<double>(k)));
  Picker picker(w);
  std::vector<float> centroids;
  for (int64_t i = 0; i < k; ++i) centroids.push_back(picker.pick(candidates));
  return centroids;
}

}  // namespace pcqat
