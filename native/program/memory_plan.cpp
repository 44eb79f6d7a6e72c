#include "program/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "ops/patches.h"
#include "program/geometry.h"

namespace pcqat {

int ArenaPlanner::add(size_t bytes, int first, int last) {
  const size_t rounded = std::max(bytes, size_t{1}) + (kAlignment - 1);
  buffers_.push_back({rounded - rounded % kAlignment, first, last, 0});
  return static_cast<int>(buffers_.size()) - 1;
}

void ArenaPlanner::solve() {
  std::vector<int> order(buffers_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return buffers_[a].bytes > buffers_[b].bytes; });
  std::vector<int> placed;  // by offset
  total_ = 0;
  for (int index : order) {
    Buffer& buffer = buffers_[index];
    size_t offset = 0;
    for (int other : placed) {
      const Buffer& neighbour = buffers_[other];
      if (neighbour.last < buffer.first || buffer.last < neighbour.first) continue;
      if (neighbour.offset >= offset + buffer.bytes) break;  // fits into the gap before it
      offset = std::max(offset, neighbour.offset + neighbour.bytes);
    }
    buffer.offset = offset;
    total_ = std::max(total_, offset + buffer.bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset, [&](size_t o, int b) { return o < buffers_[b].offset; }), index);
  }
}

namespace {

// Dropout does nothing outside training, so it shares memory there.
bool is_alias(const Instruction& instruction, bool training) {
  return instruction.op == Op::reshape || (instruction.op == Op::dropout && !training);
}

template <typename Visit>
void for_each_parameter(const Instruction& in, Visit&& visit) {
  for (int tensor : {in.kernel, in.bias, in.gamma, in.beta}) {
    if (tensor != kNone) visit(tensor);
  }
}

void find_roots(const Program& program, bool training, MemoryPlan& plan) {
  plan.root.resize(program.values.size());
  std::iota(plan.root.begin(), plan.root.end(), 0);
  for (const Instruction& in : program.instructions) {
    if (is_alias(in, training)) plan.root[in.output] = plan.root[in.input];
  }
}

// The input keeps its memory too, so that a pass can be repeated to find where it went wrong.
void plan_values(const Program& program, int64_t max_batch, bool keep, MemoryPlan& plan) {
  const int n = static_cast<int>(program.instructions.size());
  std::vector<bool> computed_again(program.values.size(), false);
  std::vector<int> first(program.values.size(), 0), last(program.values.size(), 0);
  for (int i = 0; i < n; ++i) {
    const Instruction& in = program.instructions[i];
    if (plan.root[in.output] == in.output) first[in.output] = i;
    if (plan.delays_output[i]) computed_again[in.output] = true;
    for (size_t o = 0; o < operand_count(in); ++o) last[plan.root[operand(in, o)]] = i;
    last[plan.root[in.output]] = i;
  }
  for (int value : {program.input, program.output}) last[plan.root[value]] = plan.last_step;
  plan.value_buffer.assign(program.values.size(), kNone);
  for (size_t v = 0; v < program.values.size(); ++v) {
    if (plan.root[v] != static_cast<int>(v)) continue;
    const size_t bytes = static_cast<size_t>(program.values[v].count * max_batch) * sizeof(float);
    const bool keeps = keep && !computed_again[v];
    plan.value_buffer[v] = plan.arena.add(bytes, keeps ? 0 : first[v], keeps ? plan.last_step : last[v]);
  }
}

// Elements per row of the gradient that has to be computed beside its place; 0: none.
int64_t temporary_count(const Program& program, const Instruction& in, const BackwardPlan& backward) {
  int64_t count = 0;
  bool has_target = false;
  for (size_t o = 0; o < operand_count(in); ++o) {
    const OperandPlan& target = backward.operands[o];
    if (target.adds) count = std::max(count, program.values[operand(in, o)].count);
    has_target = has_target || (target.wanted && !target.adds);
  }
  return in.op == Op::add && has_target ? 0 : count;  // both operands get the same gradient, which stands there
}

bool is_convolution(const Instruction& in) { return in.op == Op::conv2d || in.op == Op::depthwise_conv2d; }

// Patches of a larger window need their input all at once.
bool reads_rows(const Program& program, const Instruction& in) {
  return in.op == Op::depthwise_conv2d || in.op == Op::global_average_pool ||
         (in.op == Op::conv2d && is_pointwise(conv_geometry(program, in)));
}

// Which convolutions stand right before or after a batch norm, and which global pools after one, with nobody else using the value between
// them.
void find_norms(const Program& program, bool keep_values, MemoryPlan& plan) {
  const size_t n = program.instructions.size();
  std::vector<int> producer(program.values.size(), kNone), uses(program.values.size(), 0);
  for (int value : {program.output, program.loss.value}) {
    if (value != kNone) ++uses[plan.root[value]];
  }
  for (const Instruction& in : program.instructions) {
    for (size_t o = 0; o < operand_count(in); ++o) ++uses[plan.root[operand(in, o)]];
  }
  for (size_t i = 0; i < n; ++i) {
    const Instruction& in = program.instructions[i];
    producer[in.output] = static_cast<int>(i);
    if (plan.root[in.input] != in.input || uses[in.input] != 1 || producer[in.input] == kNone) continue;
    const Instruction& before = program.instructions[producer[in.input]];
    if (in.op == Op::batch_norm && is_convolution(before) && before.activation == Activation::none)
      plan.convolution_of[i] = producer[in.input];
    if (before.op != Op::batch_norm || !(is_convolution(in) || in.op == Op::global_average_pool)) continue;
    plan.norm_of[i] = producer[in.input];
    plan.delays_output[producer[in.input]] = !keep_values && reads_rows(program, in);
  }
}

// The gradient of a root value lives from its first contribution (the last consumer in program order, or the loss) to the
// backward step of the instruction that wrote it. Backward steps are numbered after the forward ones: the loss is step n,
// instruction i is step 2n - i.
void plan_gradients(const Program& program, const std::vector<bool>& gradient_tensors, int64_t max_batch, MemoryPlan& plan) {
  const int n = static_cast<int>(program.instructions.size());
  const size_t values = program.values.size();
  std::vector<bool> needed(values, false), reached(values, false);
  for (const Instruction& in : program.instructions) {
    bool need = false;
    for (size_t o = 0; o < operand_count(in); ++o) need = need || needed[plan.root[operand(in, o)]];
    for_each_parameter(in, [&](int tensor) { need = need || gradient_tensors[tensor]; });
    if (need) needed[plan.root[in.output]] = true;
  }
  const int loss_root = plan.root[program.loss.value];
  std::vector<int> first(values, kNone), producer(values, kNone), shares(values, kNone);
  if (needed[loss_root]) first[loss_root] = n;
  reached[loss_root] = true;
  for (int i = n - 1; i >= 0; --i) {
    const Instruction& in = program.instructions[i];
    if (in.op == Op::reshape) continue;  // shares the gradient as well
    const int out = plan.root[in.output];
    producer[out] = i;
    BackwardPlan& backward = plan.backward[i];
    backward.active = reached[out] && needed[out];
    backward.operands.resize(operand_count(in));
    if (!reached[out]) continue;
    for (size_t o = 0; o < operand_count(in); ++o) {
      OperandPlan& target = backward.operands[o];
      const int root = plan.root[operand(in, o)];
      reached[root] = true;
      target.wanted = backward.active && needed[root];
      if (!target.wanted) continue;
      target.adds = first[root] != kNone;
      if (!target.adds) first[root] = 2 * n - i;
    }
    if (is_convolution(in) && plan.norm_of[i] != kNone && plan.delays_output[plan.norm_of[i]]) {
      const size_t bytes = static_cast<size_t>(program.values[in.input].count * max_batch) * sizeof(float);
      plan.settled_buffer[i] = plan.arena.add(bytes, 2 * n - i, 2 * n - i);
    }
    if (backward.input().wanted && plan.convolution_of[i] != kNone) {
      backward.delays_to = plan.convolution_of[i];
      shares[plan.root[in.input]] = out;
    }
    if (const int64_t count = temporary_count(program, in, backward); count > 0) {
      const size_t bytes = static_cast<size_t>(count * max_batch) * sizeof(float);
      backward.temporary = plan.arena.add(bytes, 2 * n - i, 2 * n - i);
    }
  }
  // The memory of a batch norm's output gradient serves its convolution too.
  const auto owner = [&](size_t v) { return shares[v] == kNone ? v : static_cast<size_t>(shares[v]); };
  std::vector<int> last(values, kNone);
  for (size_t v = 0; v < values; ++v) {
    if (first[v] != kNone) last[owner(v)] = std::max(last[owner(v)], 2 * n - producer[v]);
  }
  for (size_t v = 0; v < values; ++v) {
    if (first[v] == kNone || owner(v) != v) continue;
    const size_t bytes = static_cast<size_t>(program.values[v].count * max_batch) * sizeof(float);
    plan.gradient_buffer[v] = plan.arena.add(bytes, first[v], last[v]);
  }
  for (size_t v = 0; v < values; ++v) {
    if (first[v] != kNone) plan.gradient_buffer[v] = plan.gradient_buffer[owner(v)];
  }
}

}  // namespace

MemoryPlan plan_memory(const Program& program, const std::vector<bool>& gradient_tensors, int64_t max_batch, bool training,
                       bool keep_values) {
  MemoryPlan plan;
  plan.last_step = 2 * static_cast<int>(program.instructions.size()) + 1;
  find_roots(program, training, plan);
  plan.convolution_of.assign(program.instructions.size(), kNone);
  plan.norm_of = plan.settled_buffer = plan.convolution_of;
  plan.delays_output.assign(program.instructions.size(), false);
  if (training) find_norms(program, keep_values, plan);
  plan_values(program, max_batch, training || keep_values, plan);
  plan.gradient_buffer.assign(program.values.size(), kNone);
  plan.backward.resize(program.instructions.size());
  if (training && program.loss.kind != LossKind::none) plan_gradients(program, gradient_tensors, max_batch, plan);
  return plan;
}

}  // namespace pcqat
