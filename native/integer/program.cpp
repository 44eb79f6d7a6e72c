#include "integer/program.h"

#include <cmath>

#include "error.h"

namespace pcqat::integer {

namespace {

// Largest tensor, in elements, as in TFLite (32-bit indices).
constexpr int64_t kMaxElements = INT32_MAX;
constexpr size_t kMaxRank = 8;

std::string shape_text(const Tensor& tensor) {
  std::string text = "[";
  for (size_t i = 0; i < tensor.shape.size(); ++i) text += (i ? ", " : "") + std::to_string(tensor.shape[i]);
  return text + "]";
}

[[noreturn]] void bad_tensor(const Tensor& tensor, const std::string& problem) {
  throw Error("ERR_FORMAT", "Tensor '" + tensor.name + "' " + problem + ".");
}

void check_shape(Tensor& tensor) {
  if (tensor.shape.size() > kMaxRank) bad_tensor(tensor, "has more than 8 dimensions");
  tensor.elements = 1;
  for (const int64_t dimension : tensor.shape) {
    if (dimension < 1 || dimension > kMaxElements || tensor.elements * dimension > kMaxElements) {
      bad_tensor(tensor, "has the shape " + shape_text(tensor) + ", which is empty or too large");
    }
    tensor.elements *= dimension;
  }
  if (tensor.constant && static_cast<int64_t>(tensor.data.size()) != tensor.elements * size_of(tensor.dtype)) {
    bad_tensor(tensor, "has " + std::to_string(tensor.data.size()) + " bytes of data, which do not fit its shape " + shape_text(tensor));
  }
}

void check_quantization(const Tensor& tensor) {
  if (tensor.zero_point.size() != tensor.scale.size()) bad_tensor(tensor, "has a different number of scales and zero points");
  const int64_t rank = static_cast<int64_t>(tensor.shape.size());
  if (tensor.scale.size() > 1 &&
      (tensor.axis < 0 || tensor.axis >= rank || tensor.shape[tensor.axis] != static_cast<int64_t>(tensor.scale.size()))) {
    bad_tensor(tensor, "has " + std::to_string(tensor.scale.size()) + " scales, which do not fit axis " + std::to_string(tensor.axis));
  }
  for (const float scale : tensor.scale) {
    if (!(scale > 0) || !std::isfinite(scale)) bad_tensor(tensor, "has a scale that is not positive and finite");
  }
  const int32_t low = tensor.dtype == DType::uint8 ? 0 : -128, high = tensor.dtype == DType::uint8 ? 255 : 127;
  if (tensor.dtype != DType::int8 && tensor.dtype != DType::uint8) return;
  for (const int32_t zero_point : tensor.zero_point) {
    if (zero_point < low || zero_point > high) bad_tensor(tensor, "has the zero point " + std::to_string(zero_point));
  }
}

int64_t checked_index(const Program& program, int64_t index, const std::string& where) {
  if (index < 0 || index >= static_cast<int64_t>(program.tensors.size())) {
    throw Error("ERR_FORMAT", where + " names tensor " + std::to_string(index) + ", which does not exist.");
  }
  return index;
}

}  // namespace

int64_t size_of(DType type) {
  switch (type) {
    case DType::int8:
    case DType::uint8: return 1;
    case DType::int16: return 2;
    default: return 4;
  }
}

const char* name_of(DType type) {
  switch (type) {
    case DType::int8: return "int8";
    case DType::uint8: return "uint8";
    case DType::int16: return "int16";
    case DType::int32: return "int32";
    default: return "float32";
  }
}

void validate(Program& program) {
  for (Tensor& tensor : program.tensors) {
    check_shape(tensor);
    check_quantization(tensor);
  }
  if (program.inputs.size() != 1 || program.outputs.size() != 1) {
    throw Error("ERR_UNSUPPORTED", "The model has " + std::to_string(program.inputs.size()) + " inputs and " +
                                       std::to_string(program.outputs.size()) + " outputs; one of each is supported.");
  }
  if (program.operators.empty()) throw Error("ERR_FORMAT", "The model has no operators.");
  std::vector<bool> defined(program.tensors.size());
  for (size_t i = 0; i < program.tensors.size(); ++i) defined[i] = program.tensors[i].constant;
  const int64_t input = checked_index(program, program.inputs[0], "The model's input");
  if (defined[input]) throw Error("ERR_FORMAT", "The model's input is a constant.");
  defined[input] = true;
  for (size_t i = 0; i < program.operators.size(); ++i) {
    const Operator& op = program.operators[i];
    const std::string where = "Operator " + std::to_string(i) + " (" + op.op + ")";
    if (op.inputs.empty() || op.inputs[0] < 0) throw Error("ERR_FORMAT", where + " has no input.");
    for (const int64_t index : op.inputs) {
      if (index == -1) continue;
      if (!defined[checked_index(program, index, where)]) {
        throw Error("ERR_FORMAT", where + " reads tensor '" + program.tensors[index].name + "' before it is written.");
      }
    }
    if (op.outputs.size() != 1) throw Error("ERR_UNSUPPORTED", where + " has " + std::to_string(op.outputs.size()) + " outputs.");
    const int64_t output = checked_index(program, op.outputs[0], where);
    if (defined[output]) throw Error("ERR_FORMAT", where + " writes tensor '" + program.tensors[output].name + "' a second time.");
    defined[output] = true;
  }
  const int64_t output = checked_index(program, program.outputs[0], "The model's output");
  if (!defined[output] || program.tensors[output].constant) throw Error("ERR_FORMAT", "No operator writes the model's output.");
}

std::string OperatorView::place() const { return "Operator " + std::to_string(index_) + " (" + op() + ", output '" + output().name + "')"; }

void OperatorView::fail_format(const std::string& problem) const { throw Error("ERR_FORMAT", place() + ": " + problem + "."); }

void OperatorView::unsupported(const std::string& what) const {
  throw Error("ERR_UNSUPPORTED", place() + ": " + what + " is not supported.");
}

int64_t OperatorView::input_id(size_t i) const {
  if (!has_input(i)) fail_format("input " + std::to_string(i) + " is missing");
  return self().inputs[i];
}

const Tensor& OperatorView::constant(size_t i, DType type) const {
  const Tensor& tensor = input(i);
  if (!tensor.constant) unsupported("input " + std::to_string(i) + " that is not a constant");
  if (tensor.dtype != type) unsupported(std::string(name_of(tensor.dtype)) + " data for tensor '" + tensor.name + "'");
  return tensor;
}

int32_t OperatorView::zero_point(const Tensor& tensor) const {
  if (tensor.dtype != DType::int8 && tensor.dtype != DType::uint8) {
    unsupported("tensor '" + tensor.name + "' of type " + name_of(tensor.dtype));
  }
  if (tensor.scale.size() != 1) fail_format("tensor '" + tensor.name + "' needs exactly one scale");
  return tensor.zero_point[0] - (tensor.dtype == DType::uint8 ? 128 : 0);
}

int32_t OperatorView::weight_zero_point(const Tensor& tensor) const {
  if (tensor.scale.size() == 1) return zero_point(tensor);
  if (tensor.scale.empty()) fail_format("tensor '" + tensor.name + "' has no scale");
  for (const int32_t zero_point : tensor.zero_point) {
    if (zero_point != 0 || tensor.dtype != DType::int8) unsupported("per-channel zero points of tensor '" + tensor.name + "'");
  }
  return 0;
}

const Option* OperatorView::option(const char* name) const {
  const auto found = self().options.find(name);
  return found == self().options.end() ? nullptr : &found->second;
}

double OperatorView::number(const char* name, double fallback) const {
  const Option* value = option(name);
  if (value == nullptr) return fallback;
  if (!std::holds_alternative<double>(*value)) fail_format(std::string("option ") + name + " must be a number");
  return std::get<double>(*value);
}

int64_t OperatorView::integer(const char* name, int64_t fallback, int64_t low, int64_t high) const {
  const double value = number(name, static_cast<double>(fallback));
  if (!(value >= static_cast<double>(low) && value <= static_cast<double>(high)) || value != std::floor(value)) {
    fail_format(std::string("option ") + name + " must be an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return static_cast<int64_t>(value);
}

bool OperatorView::boolean(const char* name, bool fallback) const {
  const Option* value = option(name);
  if (value == nullptr) return fallback;
  if (!std::holds_alternative<bool>(*value)) fail_format(std::string("option ") + name + " must be true or false");
  return std::get<bool>(*value);
}

std::string OperatorView::text(const char* name, const char* fallback) const {
  const Option* value = option(name);
  if (value == nullptr) return fallback;
  if (!std::holds_alternative<std::string>(*value)) fail_format(std::string("option ") + name + " must be a string");
  return std::get<std::string>(*value);
}

}  // namespace pcqat::integer
