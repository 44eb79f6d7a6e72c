// Running the weight chains of a program: forward, and backward before the update or together with it.
#include "compression/functions.h"
#include "ops/elementwise.h"
#include "optim/optimizer.h"
#include "program/session.h"

namespace pcqat {

// body(chain, workspace) for all chains: small ones in one parallel region, the others, which have regions of their own, one by one.
template <typename Body>
void Session::each_chain(Body&& body) {
  for (size_t c = 0; c < chains_.size(); ++c) {
    if (!is_small(c)) body(c, arena_data(workspace_));
  }
  pool_.parallel_for(static_cast<int64_t>(small_chains_.size()),
                     [&](int64_t i, int worker) { body(small_chains_[i], arena_data(workspace_) + worker * small_chain_workspace_); });
}

Violation Session::run_chains(bool training) {
  Violation first;
  if (!training && !chains_dirty_) return first;
  each_chain(
      [&](size_t i, void* workspace) { chain_violations_[i] = weight_chain_forward(chains_[i], training, workspace, kernels_, pool_); });
  for (size_t i = 0; i < chains_.size(); ++i) {
    const ChainViolations& found = chain_violations_[i];
    if (first.chain != kNone || found.zeros + found.clusters == 0) continue;
    const bool zeros = found.zeros > 0;
    first = {static_cast<int>(i), zeros, zeros ? found.zeros : found.clusters};
  }
  chains_dirty_ = training || first.chain != kNone;
  return first;
}

bool Session::is_genuine(const Violation& violation) {
  if (violation.chain == kNone) return false;
  const WeightChain& chain = chains_[violation.chain];
  return is_finite(chain.size, chain.used);
}

// From the gradients of the used weights to those of the stored weights and centroids, unless the update will do that.
void Session::backward_chains(bool update) {
  for (size_t c = 0; c < chains_.size(); ++c) {
    chain_squares_[c] = 0;
    one_pass_[c] = update && fits_one_pass(c);
  }
  each_chain([&](size_t c, void* workspace) {
    if (tensors_[program_.chains[c].weight].gradient_written && !one_pass_[c]) backward_chain(c, nullptr, workspace);
  });
}

// No weight may move before it is known that the step will not be undone, nor before clipping knows the norm.
bool Session::fits_one_pass(size_t chain) {
  // Neither the sum of so many gradients nor their squares can overflow.
  constexpr float kLargest = 1e18f;
  const int weight = program_.chains[chain].weight;
  const TensorMemory& tensor = tensors_[weight];
  if (!is_updated(weight) || !may_take_one_pass(tensor)) return false;
  return tensor.gradient_bound <= kLargest || is_within(kLargest, program_.tensors[weight].count, tensor.gradient, context());
}

void Session::backward_chain(size_t chain, const TensorUpdate* update, void* workspace) {
  const WeightChainSpec& spec = program_.chains[chain];
  float* const gradient = tensors_[spec.weight].gradient;
  float* d_centroids = nullptr;
  if (spec.centroids != kNone) {
    TensorMemory& centroids = tensors_[spec.centroids];
    d_centroids = centroids.gradient != nullptr ? centroids.gradient : arena_f32(scratch_[0]);
    centroids.gradient_written = true;
  }
  chain_squares_[chain] = weight_chain_backward(chains_[chain], gradient, gradient, d_centroids, workspace, kernels_, pool_, update);
}

// A backward pass that goes with the update leaves it out.
void Session::mask_gradient(size_t chain) {
  const WeightChain& c = chains_[chain];
  if (one_pass_[chain] && c.mask != nullptr && c.mask_gradient) {
    apply_mask(kernels_, c.size, c.mask, tensors_[program_.chains[chain].weight].gradient);
  }
  one_pass_[chain] = false;
}

// Backward and update of the chains that take both in one pass. Returns the squares of their gradients.
double Session::update_chains(const AdamSettings& adam, float learning_rate) {
  each_chain([&](size_t c, void* workspace) {
    if (!one_pass_[c]) return;
    const TensorUpdate change = tensor_update(program_.chains[c].weight, adam, learning_rate, 1);
    backward_chain(c, &change, workspace);
  });
  double squares = 0;
  for (size_t c = 0; c < chains_.size(); ++c) {
    if (!one_pass_[c]) continue;
    squares += chain_squares_[c];
    const int centroids = program_.chains[c].centroids;
    if (centroids != kNone && is_updated(centroids)) {
      squares += sum_of_squares(program_.tensors[centroids].count, tensors_[centroids].gradient, context());
    }
  }
  return squares;
}

}  // namespace pcqat
