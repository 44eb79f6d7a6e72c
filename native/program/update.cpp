// One training step: forward, loss, backward, checks, optimizer.
#include <algorithm>
#include <cmath>

#include "compression/functions.h"
#include "error.h"
#include "ops/chunks.h"
#include "ops/loss.h"
#include "optim/optimizer.h"
#include "program/session.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

void raise_to(float minimum, int64_t count, float* weight) {
  for (int64_t i = 0; i < count; ++i) weight[i] = std::max(weight[i], minimum);
}

}  // namespace

void Session::check_trainable(bool update) const {
  if (!options_.training) throw Error("ERR_OPTION", "trainStep needs a session with training: true.");
  if (program_.loss.kind == LossKind::none) throw Error("ERR_OPTION", "trainStep needs a program with a loss.");
  if (update && options_.optimizer.kind == OptimizerKind::none) {
    throw Error("ERR_OPTION", "trainStep needs a session with an optimizer, or update: false.");
  }
}

StepResult Session::train_step(int64_t rows, const StepOptions& options) {
  rows_ = rows;
  check_finite_rows("x", input_buffer(), program_.values[program_.input].count);
  check_targets();

  save_written(ForwardMode::training);
  for (TensorMemory& tensor : tensors_) {
    tensor.gradient_written = false;
    tensor.gradient_bound = 0;
  }
  ForwardOptions forward;
  forward.mode = ForwardMode::training;
  forward.step = options.step;
  StepResult result;
  const Violation violation = run_chains(true);
  if (is_genuine(violation)) {
    result.loss = result.gradient_norm = std::nan("");
    result.violation = violation;
    restore_written();
    return result;
  }
  for (size_t i = 0; i < program_.instructions.size(); ++i) run_instruction(i, forward);

  const LossResult loss = run_loss();
  result.loss = loss.loss;
  result.correct = loss.correct;
  result.gradient_norm = std::nan("");
  double squares = 0;
  if (std::isfinite(loss.loss) && non_finite_state().empty()) {
    run_backward(options.step);
    backward_chains(options.update);
    squares = gradient_squares();
    result.gradient_norm = std::sqrt(squares);
  }
  if (!std::isfinite(result.gradient_norm)) {
    result.non_finite = name_non_finite();
    restore_written();
    return result;
  }
  if (options.update) result.gradient_norm = update(options, squares);
  for (size_t c = 0; c < chains_.size(); ++c) {
    // The others have been masked by the optimizer.
    const WeightChain& chain = chains_[c];
    const bool is_masked = options.update && is_updated(program_.chains[c].weight);
    if (writes_back(c) && !is_masked) apply_mask(kernels_, chain.size, chain.mask, chain.weight);
  }
  return result;
}

void Session::check_targets() {
  const LossSpec& loss = program_.loss;
  if (loss.kind == LossKind::mean_squared_error || loss.dense_labels) return check_finite_rows("y", target_buffer(), target_width());
  const int64_t classes = program_.values[loss.value].count;
  const int32_t* labels = label_buffer();
  for (int64_t row = 0; row < rows_; ++row) {
    if (labels[row] < 0 || labels[row] >= classes) {
      throw Error("ERR_LABEL_RANGE", "The label of row " + std::to_string(row) + " is " + std::to_string(labels[row]) + ", but there are " +
                                         std::to_string(classes) + " classes (0 to " + std::to_string(classes - 1) + ").");
    }
  }
}

LossResult Session::run_loss() {
  const LossSpec& loss = program_.loss;
  const float* value = value_data(loss.value);
  float* gradient = has_value_gradient(loss.value) ? value_gradient(loss.value) : nullptr;
  const int64_t width = program_.values[loss.value].count;
  if (loss.kind == LossKind::mean_squared_error) return mean_squared_error(rows_, width, value, target_buffer(), gradient, context());
  return softmax_cross_entropy(rows_, width, value, loss.dense_labels ? nullptr : label_buffer(),
                               loss.dense_labels ? target_buffer() : nullptr, static_cast<float>(loss.label_smoothing), gradient,
                               context());
}

// Most tensors of a network are far shorter than what is worth handing to a thread.
void Session::plan_parts() {
  constexpr int64_t kGroupElements = kChunkElements / 4, kElementsOfCall = 128;
  int64_t size = kGroupElements;
  for (size_t t = 0; t < tensors_.size(); ++t) {
    if (!program_.tensors[t].trainable) continue;
    const Chunks chunks = chunks_of(program_.tensors[t].count, kChunkElements, 64);
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      if (size >= kGroupElements) {
        part_groups_.push_back(parts_.size());
        size = 0;
      }
      parts_.push_back({t, chunks.begin(chunk), chunks.length(chunk)});
      size += chunks.length(chunk) + kElementsOfCall;
    }
  }
  part_groups_.push_back(parts_.size());
}

template <typename Body>
void Session::each_updated_part(Body&& body) {
  pool_.parallel_for(static_cast<int64_t>(part_groups_.size()) - 1, [&](int64_t group) {
    for (size_t part = part_groups_[group]; part < part_groups_[group + 1]; ++part) {
      if (is_updated(parts_[part].tensor)) body(parts_[part]);
    }
  });
}

// Of gradients that the update has not still to compute. Squares of f32 cannot overflow in double, so they are finite exactly when every
// gradient is.
double Session::gradient_squares() {
  each_updated_part([&](TensorPart& part) {
    const TensorMemory& tensor = tensors_[part.tensor];
    if (tensor.chain == kNone) part.squares = kernels_.f32->sum_of_squares(part.count, tensor.gradient + part.begin);
  });
  double sum = 0;
  for (const TensorPart& part : parts_) {
    if (is_updated(part.tensor) && tensors_[part.tensor].chain == kNone) sum += part.squares;
  }
  for (size_t c = 0; c < chains_.size(); ++c) {
    if (is_updated(program_.chains[c].weight)) sum += chain_squares_[c];
  }
  return sum;
}

// In this order, since the later ones follow from the earlier ones.
std::string Session::name_non_finite() {
  std::string name = non_finite_value();
  if (name.empty()) name = non_finite_state();
  for (size_t t = 0; t < tensors_.size() && name.empty(); ++t) {
    if (is_updated(t) && !is_finite(program_.tensors[t].count, tensors_[t].gradient)) name = program_.tensors[t].name;
  }
  return name.empty() ? "loss" : name;
}

TensorUpdate Session::tensor_update(size_t t, const AdamSettings& adam, float learning_rate, float gradient_scale) {
  const OptimizerSpec& o = options_.optimizer;
  const TensorMemory& tensor = tensors_[t];
  UpdateSettings settings;
  settings.learning_rate = learning_rate;
  settings.clip_value = static_cast<float>(options_.clip_value);
  settings.gradient_scale = gradient_scale;
  settings.weight_decay = program_.tensors[t].weight_decay ? static_cast<float>(o.weight_decay) : 0;
  settings.mask = tensor.chain == kNone ? nullptr : chains_[tensor.chain].mask;
  settings.masks_weight = tensor.chain != kNone && writes_back(tensor.chain);
  float* const weight = f32(static_cast<int>(t));
  if (o.kind == OptimizerKind::sgd) {
    return TensorUpdate::sgd(settings, static_cast<float>(o.momentum), o.nesterov, tensor.slots[0], weight);
  }
  return TensorUpdate::adam(settings, adam, o.kind == OptimizerKind::adamw, tensor.slots[0], tensor.slots[1], weight);
}

double Session::update(const StepOptions& options, double squares) {
  const OptimizerSpec& o = options_.optimizer;
  const float rate = static_cast<float>(options.learning_rate);
  const AdamSettings adam = AdamSettings::of(o.beta1, o.beta2, static_cast<float>(o.epsilon), rate, options.step);
  const double norm = std::sqrt(squares + update_chains(adam, rate));
  const float scale = options_.clip_norm > 0 && norm > options_.clip_norm ? static_cast<float>(options_.clip_norm / norm) : 1;
  each_updated_part([&](const TensorPart& part) {
    const TensorMemory& tensor = tensors_[part.tensor];
    if (tensor.chain == kNone || !one_pass_[tensor.chain]) {
      tensor_update(part.tensor, adam, rate, scale).piece(part.begin, part.count, tensor.gradient + part.begin, *kernels_.f32);
    }
    const double minimum = program_.tensors[part.tensor].minimum;
    if (std::isfinite(minimum)) raise_to(static_cast<float>(minimum), part.count, f32(static_cast<int>(part.tensor)) + part.begin);
  });
  return norm;
}

}  // namespace pcqat
