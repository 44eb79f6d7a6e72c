// The weight chain, its gradient with the optimizer, and the pruning mask on one large weight, each beside a memory copy of the
// weight in the same run: bench/compression.ts runs this where it is built (target pcqat_chain_bench).
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compression/mask.h"
#include "compression/weight_chain.h"
#include "ops/elementwise.h"
#include "optim/optimizer.h"
#include "parallel/thread_pool.h"
#include "program/aligned_buffer.h"
#include "simd/kernels.h"

using namespace pcqat;

namespace {

constexpr int64_t kRows = 4096, kColumns = 1024, kWeights = kRows * kColumns;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Memory as a session has it, written once.
template <typename T>
class Pages {
 public:
  explicit Pages(int64_t count) : buffer_(static_cast<size_t>(count) * sizeof(T)) { std::memset(buffer_.data(), 0, buffer_.bytes()); }
  T* get() const { return reinterpret_cast<T*>(buffer_.data()); }

 private:
  AlignedBuffer buffer_;
};

// Bell-shaped, as trained weights are: the sum of four uniform numbers, standard deviation 0.05.
void fill_noise(float* out, int64_t count, uint64_t seed) {
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (int64_t i = 0; i < count; ++i) {
    float sum = 0;
    for (int part = 0; part < 4; ++part) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      sum += static_cast<float>(state >> 40) * 0x1p-24f - 0.5f;
    }
    out[i] = sum * 0.0866f;
  }
}

// Centroids over the range of the weights, one of them 0.
std::vector<float> codebook(int64_t k) {
  std::vector<float> centroids;
  for (int64_t i = 0; i < k; ++i) centroids.push_back(0.17f * static_cast<float>(2 * (i - k / 2)) / static_cast<float>(k));
  return centroids;
}

struct Candidate {
  std::string name;
  int64_t k;
  double bytes_per_weight;
  std::function<void()> run;
  std::vector<double> times;
};

double median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const double seconds = argc > 2 ? std::atof(argv[2]) : 5;
  const Kernels* kernels = find_kernels(argc > 3 ? argv[3] : nullptr);
  if (kernels == nullptr) return std::fprintf(stderr, "no such instruction set here\n"), 1;
  ThreadPool pool(threads);

  const Pages<float> weight(kWeights), used(kWeights), gradient(kWeights), m(kWeights), v(kWeights), trained(kWeights), to(kWeights);
  const Pages<int32_t> indices(kWeights);
  const Pages<uint8_t> small_indices(kWeights);
  const Pages<uint8_t> mask(kWeights), new_mask(kWeights);
  fill_noise(weight.get(), kWeights, 1);
  fill_noise(gradient.get(), kWeights, 2);
  std::copy(weight.get(), weight.get() + kWeights, trained.get());
  float threshold = 0;
  magnitude_mask(*kernels->compression, weight.get(), kWeights, 0.5f, ZeroWeights::prune, mask.get(), &threshold);

  std::vector<std::unique_ptr<float[]>> books;
  std::vector<std::unique_ptr<int32_t>> zeros;
  std::vector<std::unique_ptr<float[]>> ranges;
  size_t workspace_bytes = 0;
  const auto chain_with = [&](int64_t k) {
    const std::vector<float> centroids = codebook(k);
    books.emplace_back(new float[static_cast<size_t>(k)]);
    std::copy(centroids.begin(), centroids.end(), books.back().get());
    zeros.emplace_back(new int32_t(static_cast<int32_t>(k / 2)));
    WeightChain chain;
    chain.size = kWeights;
    chain.channels = kColumns;
    chain.weight = weight.get();
    chain.used = used.get();
    chain.mask = mask.get();
    chain.mask_gradient = true;
    chain.centroids = books.back().get();
    chain.k = k;
    if (takes_small_indices(chain))
      chain.small_indices = small_indices.get();
    else
      chain.indices = indices.get();
    chain.zero_index = zeros.back().get();
    ranges.emplace_back(new float[2]());
    chain.min = &ranges.back()[0];
    chain.max = &ranges.back()[1];
    workspace_bytes = std::max(workspace_bytes, weight_chain_workspace(chain, threads));
    return chain;
  };

  std::vector<Candidate> candidates;
  candidates.push_back({"copy",
                        0,
                        8,
                        [&] {
                          pool.parallel_for(threads, [&](int64_t part) {
                            const int64_t begin = kWeights / threads * part;
                            std::memcpy(to.get() + begin, weight.get() + begin, sizeof(float) * (kWeights / threads));
                          });
                        },
                        {}});
  AlignedBuffer workspace;
  float* d_centroids = new float[1024];
  bool broken = false;
  std::vector<WeightChain> chains;
  chains.reserve(10);
  for (int64_t k = 2; k <= 1024; k *= 2) {
    chains.push_back(chain_with(k));
    const WeightChain& chain = chains.back();
    candidates.push_back({"forward",
                          k,
                          takes_small_indices(chain) ? 10.0 : 13.0,
                          [&] {
                            const ChainViolations found = weight_chain_forward(chain, true, workspace.data(), *kernels, pool);
                            broken = broken || found.zeros + found.clusters > 0;
                          },
                          {}});
  }
  for (const WeightChain& chain : chains) {
    candidates.push_back(
        {"backward",
         chain.k,
         takes_small_indices(chain) ? 30.0 : 33.0,
         [&] {
           UpdateSettings settings{1e-6f};
           settings.mask = chain.mask;
           const TensorUpdate update =
               TensorUpdate::adam(settings, AdamSettings::of(0.9, 0.999, 1e-7f, 1e-6f, 100), false, m.get(), v.get(), trained.get());
           weight_chain_backward(chain, gradient.get(), gradient.get(), d_centroids, workspace.data(), *kernels, pool, &update);
         },
         {}});
  }
  candidates.push_back(
      {"mask",
       0,
       0,
       [&] { magnitude_mask(*kernels->compression, weight.get(), kWeights, 0.5f, ZeroWeights::prune, new_mask.get(), &threshold); },
       {}});
  workspace = AlignedBuffer(workspace_bytes);

  // The indices that the gradient reads are those of its own number of centroids.
  for (double end = now() + seconds; now() < end || candidates[0].times.size() < 5;) {
    for (Candidate& candidate : candidates) {
      if (candidate.name == "backward") {
        for (const WeightChain& chain : chains) {
          if (chain.k == candidate.k) weight_chain_forward(chain, true, workspace.data(), *kernels, pool);
        }
      }
      const double start = now();
      candidate.run();
      candidate.times.push_back(now() - start);
    }
  }
  if (broken) return std::fprintf(stderr, "a chain broke its promise\n"), 1;

  const double copy = median(candidates[0].times);
  std::printf("[");
  for (const Candidate& candidate : candidates) {
    const double time = median(candidate.times);
    std::printf("%s{\"name\":\"%s\",\"k\":%d,\"ms\":%.3f,\"copyMs\":%.3f,\"bytesPerWeight\":%.0f}\n",
                &candidate == &candidates[0] ? "" : ",", candidate.name.c_str(), static_cast<int>(candidate.k), time * 1e3, copy * 1e3,
                candidate.bytes_per_weight);
    if (candidate.bytes_per_weight > 0)
      std::fprintf(stderr, "%-9s %5d %8.3f ms  %5.1f %% of a copy\n", candidate.name.c_str(), static_cast<int>(candidate.k), time * 1e3,
                   100 * candidate.bytes_per_weight / 8 * copy / time);
    else
      std::fprintf(stderr, "%-9s %5d %8.3f ms  %5.2f copies\n", candidate.name.c_str(), static_cast<int>(candidate.k), time * 1e3,
                   time / copy);
  }
  std::printf("]\n");
}
