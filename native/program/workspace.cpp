// The arena buffers besides activations and their gradients: used weights, batch statistics, scratch, the workspace.
#include <algorithm>

#include "ops/conv.h"
#include "ops/conv_transpose.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/multiply.h"
#include "ops/norm.h"
#include "ops/pool.h"
#include "program/geometry.h"
#include "program/session.h"
#include "simd/product_kernels.h"

namespace pcqat {

void Session::plan_buffers(const std::vector<bool>& gradients) {
  const int end = plan_.last_step;
  for (const WeightChain& chain : chains_) {
    used_buffers_.push_back(plan_.arena.add(chain.size * sizeof(float), 0, end));
    const bool has_table = chain.small_indices != nullptr && chain.k <= kTableCodes;
    table_buffers_.push_back(has_table ? plan_.arena.add(kTableCodes * sizeof(float), 0, end) : kNone);
  }
  ranges_.resize(program_.instructions.size());
  delayed_.resize(program_.instructions.size());
  norm_outputs_.resize(program_.instructions.size());
  saved_statistics_.assign(program_.instructions.size(), kNone);
  takes_statistics_.assign(program_.instructions.size(), false);
  if (options_.training) {
    for (size_t i = 0; i < program_.instructions.size(); ++i) {
      const Instruction& in = program_.instructions[i];
      if (in.op != Op::batch_norm) continue;
      const int64_t channels = program_.tensors[in.gamma].count;
      statistics_channels_ = std::max(statistics_channels_, channels);
      saved_statistics_[i] = plan_.arena.add(kNormSaved * channels * sizeof(float), 0, end);
      // At once, so that no other convolution comes between them.
      if (plan_.convolution_of[i] != kNone && plan_.convolution_of[i] == static_cast<int>(i) - 1) takes_statistics_[i - 1] = true;
    }
    Carver measured(nullptr);
    OutputStatistics::plan(statistics_channels_, measured);
    statistics_buffer_ = plan_.arena.add(measured.used(), 0, end);
    const size_t scratch = scratch_count(gradients) * sizeof(float);
    for (int& buffer : scratch_) buffer = plan_.arena.add(scratch, 0, end);
    target_buffer_ = plan_.arena.add(options_.max_batch * target_width() * sizeof(float), 0, end);
  }
  workspace_ = plan_.arena.add(workspace_bytes(), 0, end);
}

// The largest parameter whose gradient an operator computes although it is not kept, or has to be added to another.
int64_t Session::scratch_count(const std::vector<bool>& gradients) const {
  std::vector<int> uses(program_.tensors.size(), 0);
  for (const Instruction& in : program_.instructions) {
    for (int tensor : {in.kernel, in.bias, in.gamma, in.beta}) {
      if (tensor != kNone) ++uses[tensor];
    }
  }
  for (const WeightChainSpec& chain : program_.chains) {
    if (chain.centroids != kNone) ++uses[chain.centroids];
  }
  int64_t count = 0;
  for (size_t t = 0; t < uses.size(); ++t) {
    if (uses[t] > 1 || (uses[t] == 1 && !gradients[t])) count = std::max(count, program_.tensors[t].count);
  }
  return count;
}

size_t Session::conv_workspace(size_t index) const {
  const ConvGeometry g = conv_geometry(program_, program_.instructions[index]);
  const int threads = options_.threads;
  size_t bytes = conv2d_workspace(g, threads);
  if (code_sources_[index] != kNone) bytes = std::max(bytes, conv2d_codes_workspace(g, threads));
  if (options_.training) bytes = std::max(bytes, conv2d_backward_workspace(g, options_.max_batch, options_.bf16_gradients, threads));
  return bytes;
}

size_t Session::workspace_bytes() const {
  const int threads = options_.threads;
  const int64_t rows = options_.max_batch;
  int64_t largest = 1;
  for (const ValueSpec& value : program_.values) largest = std::max(largest, value.count * rows);
  for (const TensorSpec& tensor : program_.tensors) largest = std::max(largest, tensor.count);
  size_t bytes = elementwise_workspace(largest, threads);
  for (size_t i = 0; i < program_.instructions.size(); ++i) {
    const Instruction& in = program_.instructions[i];
    const ValueSpec& x = program_.values[in.input];
    switch (in.op) {
      case Op::conv2d: bytes = std::max(bytes, conv_workspace(i)); break;
      case Op::depthwise_conv2d: {
        const ConvGeometry g = conv_geometry(program_, in);
        bytes = std::max(
            {bytes, depthwise_workspace(g, rows, threads), options_.training ? depthwise_backward_workspace(g, rows, threads) : size_t{0}});
        break;
      }
      case Op::conv2d_transpose: bytes = std::max(bytes, conv_transpose_workspace(transposed_geometry(program_, in), rows, threads)); break;
      case Op::multiply: bytes = std::max(bytes, channel_product_workspace(x.shape.back(), threads)); break;
      case Op::dense: bytes = std::max(bytes, dense_workspace(rows, x.count, program_.values[in.output].count, threads)); break;
      case Op::batch_norm: bytes = std::max(bytes, batch_norm_workspace(x.shape.back(), rows * (x.count / x.shape.back()), threads)); break;
      case Op::global_average_pool:
        bytes = std::max(bytes, global_average_pool_workspace(x.count / x.shape.back(), x.shape.back(), threads));
        break;
      default: break;  // elementwise_workspace is enough
    }
  }
  for (const WeightChain& chain : chains_) bytes = std::max(bytes, weight_chain_workspace(chain, threads));
  return std::max(bytes, threads * small_chain_workspace_);
}

}  // namespace pcqat
