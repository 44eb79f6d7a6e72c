// The weight chain (docs/architecture.md): from the stored weight w to the used weight ŵ and back.
// One forward pass over the weight: mask, nearest centroid, gather, range, fake quantization.
// One backward pass: straight-through inside the range, segment sum into the centroids, mask.
#pragma once

#include <cstddef>
#include <cstdint>

#include "compression/fake_quant.h"
#include "simd/compression_kernels.h"

namespace pcqat {

class TensorUpdate;
class ThreadPool;
struct Kernels;

struct WeightChain {
  int64_t size = 0;
  int64_t channels = 0;  // last dimension of the weight

  float* weight = nullptr;  // stored weight w
  float* used = nullptr;    // ŵ

  const uint8_t* mask = nullptr;  // null: no mask
  bool mask_gradient = false;

  float* centroids = nullptr;  // null: no codebook; [K] or [channels, K]
  int32_t* indices = nullptr;
  uint8_t* small_indices = nullptr;  // instead of `indices`, where takes_small_indices()
  float* table = nullptr;            // null, or [k]: with small indices the used weight of each
  int64_t k = 0;
  bool codebook_per_channel = false;
  const int32_t* zero_index = nullptr;  // null: no pinned centroid; [1] or [channels]; -1 = none
  bool zero_pin_equal = false;
  bool average = false;  // gradient aggregation AVG instead of SUM

  float* min = nullptr;  // null: no fake quantization; [1] or [channels]
  float* max = nullptr;
  bool range_per_channel = false;
  RangeRule rule{RangeUpdate::last_value, true, true};
};

// One codebook of at most 256 centroids and one range: bytes instead of words go to memory and back.
inline bool takes_small_indices(const WeightChain& c) { return c.k > 0 && c.k <= 256 && !c.codebook_per_channel && !c.range_per_channel; }

// Bytes of scratch memory that forward and backward need with up to `threads` threads. 64-byte aligned by the caller.
size_t weight_chain_workspace(const WeightChain& chain, int threads);

// Whether the passes below leave it to the thread that calls them, so that several chains may run at once, each with a workspace of its
// own.
bool runs_alone(const WeightChain& chain);

// Writes used, indices, table, and min and max as the rule says; with `training` also pins the zero centroid. Without `training` centroids
// are not modified, and only a last-value range, which follows from the rest of the state, is written. Returns what breaks a promise:
// masked weights that are not 0, and weights that are not the (fake-quantized) centroid of their index.
ChainViolations weight_chain_forward(const WeightChain& chain, bool training, void* workspace, const Kernels& kernels, ThreadPool& pool);

// `d_used` = gradient of ŵ; after a forward on the same state. d_centroids is ignored without a codebook.
// d_weight may alias d_used. Returns Σ d_weight².
// With an `update` of the weight, the gradient goes to the optimizer piece by piece, from the cache; the mask is then not applied to
// d_weight.
double weight_chain_backward(const WeightChain& chain, const float* d_used, float* d_weight, float* d_centroids, void* workspace,
                             const Kernels& kernels, ThreadPool& pool, const TensorUpdate* update = nullptr);

}  // namespace pcqat
