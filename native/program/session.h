// A program with its parameters, arena, threads and optimizer state. One call at a time; no allocation per call.
#pragma once

#include <string>
#include <vector>

#include "compression/weight_chain.h"
#include "ops/conv.h"
#include "ops/elementwise.h"
#include "ops/loss.h"
#include "ops/norm.h"
#include "ops/statistics.h"
#include "optim/optimizer.h"
#include "parallel/thread_pool.h"
#include "program/aligned_buffer.h"
#include "program/memory_plan.h"
#include "program/program.h"

namespace pcqat {

enum class OptimizerKind { none, adam, adamw, sgd };

struct OptimizerSpec {
  OptimizerKind kind = OptimizerKind::none;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-7;  // adam, adamw
  double momentum = 0;                                // sgd
  bool nesterov = false;
  double weight_decay = 0;
};

struct SessionOptions {
  int64_t max_batch = 1;
  bool training = false;
  OptimizerSpec optimizer;
  double clip_norm = 0;   // 0: off
  double clip_value = 0;  // 0: off
  int threads = 1;
  uint64_t seed = 0;
  bool keep_values = false;
  bool bf16_gradients = false;  // round the operands of the backward products to bfloat16
};

struct StepOptions {
  double learning_rate = 0;
  int64_t step = 1;
  bool update = true;
};

// A weight chain that did not keep its promise (compression/weight_chain.h).
struct Violation {
  int chain = kNone;   // kNone: every chain kept it
  bool zeros = false;  // masked weights that are not zero; else weights that are not a value of their codebook
  int64_t count = 0;   // weights
};

struct StepResult {
  double loss = 0;
  int64_t correct = 0;
  double gradient_norm = 0;
  std::string non_finite;  // empty: everything is finite
  Violation violation;
};

enum class ForwardMode { inference, training, observe };

struct ForwardOptions {
  ForwardMode mode = ForwardMode::inference;
  bool reset_ranges = false;
  int64_t step = 0;
};

class Session {
 public:
  // Validates the program. Throws Error.
  Session(Program program, const SessionOptions& options, const Kernels& kernels);

  const Program& program() const { return program_; }
  const SessionOptions& options() const { return options_; }
  const Kernels& kernels() const { return kernels_; }
  size_t arena_bytes() const { return plan_.arena.total(); }
  size_t memory_bytes() const { return arena_.bytes() + state_.bytes(); }

  // Tensors start as zeros. The caller has checked the index, element type and count of `data`; the values are checked here.
  void set_tensor(int tensor, const void* data);
  void get_tensor(int tensor, void* data) const;
  static size_t element_size(DType dtype) { return dtype == DType::u8 ? 1 : 4; }

  int slot_count() const;
  bool has_gradient(int tensor) const { return tensors_[tensor].gradient != nullptr && program_.tensors[tensor].trainable; }
  const float* gradient(int tensor);
  float* slot(int tensor, int slot) const { return tensors_[tensor].slots[slot]; }
  void set_slot(int tensor, int slot, const float* data);
  const float* used_weight(int chain) const { return chains_[chain].used; }
  bool keeps(int value) const { return options_.keep_values || value == program_.output; }
  // The rows of the last call.
  int64_t rows() const { return rows_; }
  const float* value(int value) const { return value_data(value); }

  // Buffers that the caller fills before a call: rows of the input, and labels or targets of the loss.
  float* input_buffer() { return value_data(program_.input); }
  int32_t* label_buffer() { return reinterpret_cast<int32_t*>(arena_data(target_buffer_)); }
  float* target_buffer() { return reinterpret_cast<float*>(arena_data(target_buffer_)); }
  // Elements of the target per row: 1 for sparse labels.
  int64_t target_width() const;

  // Throws Error unless train_step can run (with an optimizer update).
  void check_trainable(bool update) const;
  // One training step, after check_trainable. Throws Error for a bad input or label, before anything is changed. When the loss, a gradient,
  // a batch statistic or a range is not finite, or a chain loses zeros or clusters, every tensor and slot is as before the call and the
  // result says where.
  StepResult train_step(int64_t rows, const StepOptions& options);

  // Throws Error for a bad input, when the result is not finite (ERR_NON_FINITE), or when a chain loses zeros or clusters
  // (ERR_INVARIANT); the state is then as before.
  void forward(int64_t rows, const ForwardOptions& options);

 private:
  struct TensorMemory {
    uint8_t* data = nullptr;
    float* gradient = nullptr;  // null: none
    float* slots[2] = {nullptr, nullptr};
    int chain = kNone;               // the chain whose weight it is
    bool has_small_indices = false;  // bytes instead of words (compression/weight_chain.h)
    bool gradient_written = false;   // in this backward pass
    double gradient_bound = 0;       // no element of it is larger
  };
  // A tensor that forward passes write, with its copy for restoring.
  struct Written {
    int tensor;
    uint8_t* copy;
    bool is_small;      // a statistic or range, checked for finiteness after each forward pass
    bool is_rewritten;  // indices: all of them, by every training pass
  };

  // A part of a trainable tensor, which one thread updates.
  struct TensorPart {
    size_t tensor;
    int64_t begin, count;
    double squares = 0;  // of the gradient, summed, if it has no chain
  };

  // session.cpp
  void plan_state();
  WeightChain bind_chain(const WeightChainSpec& spec) const;
  void bind_indices(size_t chain);
  std::vector<Written> written_tensors() const;
  size_t tensor_bytes(int tensor) const;
  float* f32(int tensor) const { return tensor == kNone ? nullptr : reinterpret_cast<float*>(tensors_[tensor].data); }
  uint8_t* arena_data(int buffer) const { return arena_.data() + plan_.arena.offset(buffer); }
  float* arena_f32(int buffer) const { return reinterpret_cast<float*>(arena_data(buffer)); }
  float* value_data(int value) const { return arena_f32(plan_.value_buffer[plan_.root[value]]); }
  float* value_gradient(int value) const { return arena_f32(plan_.gradient_buffer[plan_.root[value]]); }
  bool has_value_gradient(int value) const { return plan_.gradient_buffer[plan_.root[value]] != kNone; }
  int64_t value_count(int value) const { return rows_ * program_.values[value].count; }
  const float* kernel_data(const Instruction& in) const;
  Context context() { return {kernels_, pool_, arena_data(workspace_)}; }
  // What a forward pass that is not inference changes, saved and restored.
  void save_written(ForwardMode mode);
  void restore_written();

  // codes.cpp
  bool has_code_kernel(const Instruction& in) const;
  void find_code_sources();
  // Whether both operands of a convolution are fake-quantized in this pass, and how.
  bool code_operands(size_t index, const ForwardOptions& options, CodeOperands* operands) const;

  // workspace.cpp
  void plan_buffers(const std::vector<bool>& gradients);
  int64_t scratch_count(const std::vector<bool>& gradients) const;
  size_t conv_workspace(size_t index) const;
  size_t workspace_bytes() const;

  // forward.cpp
  void check_finite_rows(const char* what, const float* data, int64_t width);
  void run_instruction(size_t index, const ForwardOptions& options);
  void run_conv(size_t index, const ForwardOptions& options);
  // The input of a convolution, whose rows it may have to compute.
  LayerInput layer_input(size_t index, float* settled) const;
  void run_batch_norm(size_t index, const ForwardOptions& options);
  void run_multiply(const Instruction& in);
  BatchNormParameters batch_norm_parameters(const Instruction& in) const;
  ActivationQuant activation_quant(const FakeQuantSpec& spec, const ForwardOptions& options) const;
  DropoutKey dropout_key(size_t index, int64_t step) const {
    return {options_.seed, static_cast<uint64_t>(step), static_cast<uint32_t>(index)};
  }
  bool is_finite(int64_t count, const float* data);
  // Computes an output first that was left to the layer after it.
  bool is_output_finite(size_t index);
  // Names of the first statistic or range, and of the first instruction by its output, that are not finite; or "".
  std::string non_finite_state();
  std::string non_finite_value();
  std::string find_non_finite_layer(const ForwardOptions& options);

  // backward.cpp
  void run_backward(int64_t step);
  void backward_instruction(size_t index, int64_t step);
  void backward_layer(size_t index, const float* x, const float* dy);
  void backward_conv(size_t index, const float* kernel);
  // For an instruction to take while it computes the gradient of its input, the output of a batch norm; null: nobody wants them.
  NormSums* sums_before(size_t index);
  NormSums norm_sums_of(size_t index, double* gradient, double* product) const;
  void backward_batch_norm(size_t index, const float* dy);
  void backward_add(size_t index, const float* dy);
  void backward_multiply(size_t index, const float* dy);
  void backward_concat(size_t index, const float* dy);
  template <typename Write>
  void give_gradient(size_t index, size_t operand_index, Write&& write);
  template <typename Write>
  void give_input_gradient(size_t index, Write&& write) {
    give_gradient(index, 0, write);
  }
  template <typename Write>
  void give_parameter_gradients(int first, int second, Write&& write);

  // chains.cpp
  // Gradients of centroids that nobody learns share memory, so those chains run one by one too.
  bool is_small(size_t chain) const {
    const int centroids = program_.chains[chain].centroids;
    return runs_alone(chains_[chain]) && (centroids == kNone || !options_.training || program_.tensors[centroids].trainable);
  }
  template <typename Body>
  void each_chain(Body&& body);
  // Returns the first chain that breaks its promise.
  Violation run_chains(bool training);
  // Values that are not finite break promises too; those are for the checks of the layers to report.
  bool is_genuine(const Violation& violation);
  void backward_chains(bool update);
  // Clipping by the norm needs it before the update.
  bool may_take_one_pass(const TensorMemory& weight) const { return weight.chain != kNone && options_.clip_norm == 0; }
  bool fits_one_pass(size_t chain);
  void backward_chain(size_t chain, const TensorUpdate* update, void* workspace);
  double update_chains(const AdamSettings& adam, float learning_rate);
  void mask_gradient(size_t chain);

  // update.cpp
  void check_targets();
  LossResult run_loss();
  // Trainable, and the loss depends on it: a tensor without a gradient is left alone (spec 0.4).
  bool is_updated(size_t tensor) const { return tensors_[tensor].gradient_written && program_.tensors[tensor].trainable; }
  // Whether a step writes the masked weight of a chain back: when nothing can fail any more, so that there is nothing to undo.
  bool writes_back(size_t chain) const { return program_.chains[chain].mask != kNone && program_.chains[chain].mask_write_back; }
  void plan_parts();
  // body(part) for the parts of all tensors that are updated, in one parallel region.
  template <typename Body>
  void each_updated_part(Body&& body);
  double gradient_squares();
  std::string name_non_finite();
  TensorUpdate tensor_update(size_t tensor, const AdamSettings& adam, float learning_rate, float gradient_scale);
  // Returns the norm of the gradients, whose squares are those that are known already.
  double update(const StepOptions& options, double squares);

  Program program_;
  const SessionOptions options_;
  const Kernels& kernels_;
  ThreadPool pool_;
  MemoryPlan plan_;
  AlignedBuffer state_;  // tensors, slots, copies for restoring
  AlignedBuffer arena_;  // activations, gradients, used weights, workspace

  std::vector<TensorMemory> tensors_;
  std::vector<Written> written_;
  std::vector<TensorPart> parts_;    // in training
  std::vector<size_t> part_groups_;  // where groups of parts begin that are worth handing to a thread, and the end of the last
  std::vector<WeightChain> chains_;
  std::vector<size_t> small_chains_;
  size_t small_chain_workspace_ = 0;  // of a worker
  std::vector<ChainViolations> chain_violations_;
  std::vector<double> chain_squares_;  // of the gradient of each chain's weight, summed by the backward pass
  std::vector<bool> one_pass_;         // per chain: whether the last step's backward pass went with the update
  std::vector<NudgedRange> ranges_;    // per instruction, of the last pass that quantized its output
  std::vector<int> code_sources_;      // per conv2d that can multiply codes: the instruction that fake-quantizes its input, else kNone
  int64_t statistics_channels_ = 0;
  OutputStatistics statistics_;           // of a convolution's output, for the batch norm that follows at once; backward: see sums_
  std::vector<bool> takes_statistics_;    // per conv2d, depthwise_conv2d
  std::vector<NormGradient> delayed_;     // per conv2d, depthwise_conv2d: of the batch norm that follows, x null: none
  std::vector<NormOutput> norm_outputs_;  // per batch_norm, of the last pass if that was training; else x is null
  NormSums sums_;                         // taken by an instruction for the batch norm right before it
  int sums_of_ = kNone;                   // which
  std::vector<int> saved_statistics_;     // arena buffer per batchNorm instruction
  std::vector<int> gradient_buffers_, used_buffers_, table_buffers_;
  int target_buffer_ = kNone, workspace_ = kNone, statistics_buffer_ = kNone;
  int scratch_[2] = {kNone, kNone};  // for gradients of parameters that are added or not kept
  int64_t rows_ = 0;
  bool chains_dirty_ = true;  // the state changed since the used weights were computed
};

}  // namespace pcqat
