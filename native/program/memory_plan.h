// Where every buffer of a session lies in its arena. Planned once, for the largest batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "program/program.h"

namespace pcqat {

// Assigns offsets in one arena to buffers with known lifetimes: buffers that are never alive together may share memory.
// Greedy by size (the largest first, each at the lowest free offset), 64-byte aligned.
class ArenaPlanner {
 public:
  static constexpr size_t kAlignment = 64;

  // A buffer alive during the steps first..last (inclusive). Returns its handle.
  int add(size_t bytes, int first, int last);
  void solve();
  size_t offset(int buffer) const { return buffers_[buffer].offset; }
  size_t total() const { return total_; }

 private:
  struct Buffer {
    size_t bytes;
    int first, last;
    size_t offset;
  };
  std::vector<Buffer> buffers_;
  size_t total_ = 0;
};

// What one operand of an instruction gets in the backward pass.
struct OperandPlan {
  bool wanted = false;  // its gradient is computed
  bool adds = false;    // and added to what later instructions gave; otherwise it is the first
};

// How one instruction takes part in the backward pass.
struct BackwardPlan {
  bool active = false;  // its output's gradient is needed
  std::vector<OperandPlan> operands;
  int delays_to = kNone;  // batch_norm: the convolution that computes its input's gradient row by row, in the memory of the output's
  int temporary = kNone;  // arena buffer for a gradient that is added or dropped; kNone: not needed

  const OperandPlan& input() const { return operands[0]; }
};

// Everything the executor looks up by index.
struct MemoryPlan {
  std::vector<int> root;               // per value: the value whose memory it shares (reshape), itself otherwise
  std::vector<int> value_buffer;       // per root value
  std::vector<int> gradient_buffer;    // per root value; kNone: no gradient
  std::vector<BackwardPlan> backward;  // per instruction
  std::vector<int> convolution_of;     // per batch_norm in training: the convolution before it if nobody else uses its output, else kNone
  std::vector<int>
      norm_of;  // per convolution or global pool in training: the batch_norm before it if nobody else uses its output, else kNone
  std::vector<bool> delays_output;  // per batch_norm in training: its rows are computed by the instruction that uses them
  std::vector<int> settled_buffer;  // per convolution after such a norm: where the backward pass may compute all of its input
  int last_step = 0;                // buffers alive during 0..last_step keep their memory
  ArenaPlanner arena;
};

// `gradient_tensors[t]`: tensor t gets a gradient. Without `keep_values` activations give their memory away: those that are no longer
// needed or, with `training`, outputs of batch norms, which are cheaper to compute again. The caller may add further buffers before
// arena.solve().
MemoryPlan plan_memory(const Program& program, const std::vector<bool>& gradient_tensors, int64_t max_batch, bool training,
                       bool keep_values);

}  // namespace pcqat
