// An integer program: the operators of a .tflite model as plain data, with checked access to it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace pcqat::integer {

enum class DType { int8, uint8, int16, int32, float32 };
int64_t size_of(DType type);
const char* name_of(DType type);

struct Tensor {
  std::string name;
  std::vector<int64_t> shape;
  DType dtype = DType::int8;
  std::vector<float> scale;  // empty: not quantized
  std::vector<int32_t> zero_point;
  int64_t axis = 0;
  bool constant = false;
  std::vector<uint8_t> data;

  int64_t elements = 0;  // set by validate
};

using Option = std::variant<double, bool, std::string>;

struct Operator {
  std::string op;
  std::vector<int64_t> inputs;  // −1: optional input left out
  std::vector<int64_t> outputs;
  std::map<std::string, Option> options;
};

struct Program {
  std::vector<Tensor> tensors;
  std::vector<Operator> operators;
  std::vector<int64_t> inputs, outputs;
};

// Checks everything that does not depend on the kind of operator: shapes, data sizes, quantization parameters, indices, order of
// definition, one input and one output. Sets Tensor::elements. Throws ERR_FORMAT or ERR_UNSUPPORTED.
void validate(Program& program);

// What an operator's factory sees: its own part of the program. Every accessor throws an Error that names the operator.
class OperatorView {
 public:
  OperatorView(const Program& program, int64_t index) : program_(program), index_(index) {}

  const std::string& op() const { return self().op; }
  bool has_input(size_t i) const { return i < self().inputs.size() && self().inputs[i] >= 0; }
  size_t input_count() const { return self().inputs.size(); }
  int64_t input_id(size_t i) const;
  int64_t output_id() const { return self().outputs[0]; }
  const Tensor& input(size_t i) const { return program_.tensors[input_id(i)]; }
  const Tensor& output() const { return program_.tensors[output_id()]; }
  // A constant input of the given type.
  const Tensor& constant(size_t i, DType type) const;

  // Requires 8-bit data with one scale and returns the zero point in the domain of the executor, which holds uint8 values
  // minus 128 as int8 (zero points and bounds likewise).
  int32_t zero_point(const Tensor& tensor) const;
  // The zero point as above, of weights; per-channel weights must have zero points 0.
  int32_t weight_zero_point(const Tensor& tensor) const;

  int64_t integer(const char* name, int64_t fallback, int64_t low, int64_t high) const;
  double number(const char* name, double fallback) const;
  bool boolean(const char* name, bool fallback) const;
  std::string text(const char* name, const char* fallback) const;

  [[noreturn]] void fail_format(const std::string& problem) const;
  [[noreturn]] void unsupported(const std::string& what) const;
  void require(bool condition, const char* problem) const {
    if (!condition) fail_format(problem);
  }

 private:
  const Operator& self() const { return program_.operators[index_]; }
  const Option* option(const char* name) const;
  std::string place() const;

  const Program& program_;
  int64_t index_;
};

}  // namespace pcqat::integer
