#include "program/validate.h"

#include <cmath>
#include <map>
#include <set>

#include "error.h"

namespace pcqat {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

std::string instruction_text(const Program& program, size_t index) {
  return "layer '" + program.instructions[index].name + "' (instructions[" + std::to_string(index) + "])";
}

namespace {

const char* dtype_text(DType dtype) { return dtype == DType::f32 ? "f32" : dtype == DType::u8 ? "u8" : "i32"; }

// Product of the dimensions; throws when one is not positive or the product passes kMaxElements / times.
int64_t checked_count(const std::vector<int64_t>& shape, const std::string& what, int64_t times) {
  if (shape.empty()) throw Error("ERR_SHAPE", "The shape of " + what + " is empty; a scalar has the shape [1].");
  int64_t count = 1;
  for (int64_t size : shape) {
    if (size < 1) throw Error("ERR_SHAPE", "The shape " + shape_text(shape) + " of " + what + " has a dimension below 1.");
    if (size > kMaxElements / times / count) {
      const std::string batch = times == 1 ? "" : " for " + std::to_string(times) + " rows";
      throw Error("ERR_SHAPE",
                  "The shape " + shape_text(shape) + " of " + what + " has too many elements" + batch + " (more than 2^31 - 1).");
    }
    count *= size;
  }
  return count;
}

void validate_tensors(Program& program) {
  std::set<std::string> names;
  for (size_t i = 0; i < program.tensors.size(); ++i) {
    TensorSpec& tensor = program.tensors[i];
    const std::string what = "tensor '" + tensor.name + "' (tensors[" + std::to_string(i) + "])";
    if (tensor.name.empty()) throw Error("ERR_OPTION", "tensors[" + std::to_string(i) + "] has an empty name.");
    if (!names.insert(tensor.name).second) throw Error("ERR_OPTION", "The name of " + what + " is used twice.");
    tensor.count = checked_count(tensor.shape, what, 1);
    if (tensor.trainable && tensor.dtype != DType::f32) {
      throw Error("ERR_DTYPE", "The " + what + " is trainable, so its dtype must be f32, not " + dtype_text(tensor.dtype) + ".");
    }
  }
}

void validate_values(Program& program, int64_t max_batch) {
  for (size_t i = 0; i < program.values.size(); ++i) {
    ValueSpec& value = program.values[i];
    value.count = checked_count(value.shape, "value '" + value.name + "' (values[" + std::to_string(i) + "])", max_batch);
  }
}

void check_value(const Program& program, int value, const std::string& role) {
  if (value < 0 || static_cast<size_t>(value) >= program.values.size()) {
    throw Error("ERR_GRAPH", "The " + role + " is value " + std::to_string(value) + ", but the program has " +
                                 std::to_string(program.values.size()) + " values.");
  }
}

// Every value is written once, before it is read.
void validate_order(const Program& program) {
  std::vector<bool> defined(program.values.size(), false);
  check_value(program, program.input, "program's input");
  defined[program.input] = true;
  for (size_t i = 0; i < program.instructions.size(); ++i) {
    const Instruction& instruction = program.instructions[i];
    const std::string where = instruction_text(program, i);
    auto check_operand = [&](int value, const char* role) {
      check_value(program, value, role + (" of " + where));
      if (!defined[value])
        throw Error("ERR_GRAPH", "The " + where + " reads value '" + program.values[value].name + "' before it is written.");
    };
    check_operand(instruction.input, "input");
    for (int other : instruction.others) check_operand(other, "other input");
    check_value(program, instruction.output, "output of " + where);
    if (defined[instruction.output]) {
      throw Error("ERR_GRAPH",
                  "The " + where + " writes value '" + program.values[instruction.output].name + "', which is already written.");
    }
    defined[instruction.output] = true;
  }
  for (size_t i = 0; i < defined.size(); ++i) {
    if (!defined[i])
      throw Error("ERR_GRAPH", "The value '" + program.values[i].name + "' (values[" + std::to_string(i) + "]) is never written.");
  }
  check_value(program, program.output, "program's output");
}

void validate_loss(const Program& program) {
  const LossSpec& loss = program.loss;
  if (loss.kind == LossKind::none) return;
  check_value(program, loss.value, loss.kind == LossKind::softmax_cross_entropy ? "loss's logits" : "loss's prediction");
  const ValueSpec& value = program.values[loss.value];
  if (loss.kind == LossKind::softmax_cross_entropy && value.shape.size() != 1) {
    throw Error("ERR_SHAPE",
                "The loss's logits '" + value.name + "' must have the shape [classes], but have " + shape_text(value.shape) + ".");
  }
  if (!(loss.label_smoothing >= 0 && loss.label_smoothing < 1)) throw Error("ERR_OPTION", "loss.labelSmoothing must be in [0, 1).");
}

// A tensor has one role in the whole program. Parameters and statistics may be shared between layers; ranges and chain
// state may not, since each has one writer.
void validate_roles(const Program& program) {
  struct Use {
    std::string role, where;
  };
  std::map<int, Use> uses;
  auto use = [&](int tensor, const char* role, const std::string& where, bool shared) {
    if (tensor == kNone) return;
    const auto [it, inserted] = uses.insert({tensor, {role, where}});
    if (inserted || (shared && it->second.role == role)) return;
    throw Error("ERR_OPTION", "The tensor '" + program.tensors[tensor].name + "' is the " + it->second.role + " of " + it->second.where +
                                  " and cannot also be the " + role + " of " + where + ".");
  };
  for (size_t i = 0; i < program.instructions.size(); ++i) {
    const Instruction& in = program.instructions[i];
    const std::string where = instruction_text(program, i);
    use(in.kernel, "kernel", where, true);
    use(in.bias, "bias", where, true);
    use(in.gamma, "gamma", where, true);
    use(in.beta, "beta", where, true);
    use(in.moving_mean, "movingMean", where, true);
    use(in.moving_variance, "movingVariance", where, true);
    use(in.fake_quant.min, "fakeQuant.min", where, false);
    use(in.fake_quant.max, "fakeQuant.max", where, false);
  }
  std::set<int> chained;
  for (size_t i = 0; i < program.chains.size(); ++i) {
    const WeightChainSpec& chain = program.chains[i];
    const std::string where = "chains[" + std::to_string(i) + "]";
    if (!chained.insert(chain.weight).second) {
      throw Error("ERR_OPTION",
                  "The tensor '" + program.tensors[chain.weight].name + "' has more than one chain; the second is " + where + ".");
    }
    use(chain.weight, "kernel", where, true);
    use(chain.mask, "mask", where, false);
    use(chain.centroids, "codebook.centroids", where, false);
    use(chain.indices, "codebook.indices", where, false);
    use(chain.zero_index, "codebook.zeroIndex", where, false);
    use(chain.min, "fakeQuant.min", where, false);
    use(chain.max, "fakeQuant.max", where, false);
  }
}

}  // namespace

const TensorSpec& checked_tensor(const Program& program, int tensor, const std::string& role, DType dtype) {
  if (tensor < 0 || static_cast<size_t>(tensor) >= program.tensors.size()) {
    throw Error("ERR_GRAPH", "The " + role + " is tensor " + std::to_string(tensor) + ", but the program has " +
                                 std::to_string(program.tensors.size()) + " tensors.");
  }
  const TensorSpec& spec = program.tensors[tensor];
  if (spec.dtype != dtype) {
    throw Error("ERR_DTYPE", "The " + role + ", tensor '" + spec.name + "', must have the dtype " + dtype_text(dtype) + ", but has " +
                                 dtype_text(spec.dtype) + ".");
  }
  return spec;
}

void check_shape(const TensorSpec& tensor, const std::vector<int64_t>& expected, const std::string& role) {
  if (tensor.shape == expected) return;
  throw Error("ERR_SHAPE", "The " + role + ", tensor '" + tensor.name + "', must have the shape " + shape_text(expected) + ", but has " +
                               shape_text(tensor.shape) + ".");
}

void validate(Program& program, int64_t max_batch) {
  validate_tensors(program);
  validate_values(program, max_batch);
  validate_order(program);
  for (size_t i = 0; i < program.instructions.size(); ++i) validate_instruction(program, i);
  validate_chains(program);
  validate_roles(program);
  validate_loss(program);
}

}  // namespace pcqat
