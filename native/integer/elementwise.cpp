// ADD, RELU, RELU6, QUANTIZE and DEQUANTIZE.
#include <algorithm>
#include <cmath>

#include "integer/add.h"
#include "integer/requantize.h"

namespace pcqat::integer {

namespace {

class Add final : public Operation {
 public:
  explicit Add(const OperatorView& op) : output_(op.output_id()), elements_(op.output().elements) {
    const Tensor& output = op.output();
    const float a = checked_operand(op, 0), b = checked_operand(op, 1);
    for (int i = 0; i < 2; ++i) operands_[i] = {op.input_id(i), op.zero_point(op.input(i))};
    if (!make_add_scales(a, b, output.scale[0], scales_)) op.unsupported("an output scale so much smaller than the inputs'");
    output_zero_point_ = op.zero_point(output);
    bounds_ = fused_bounds(op);
    work = elements_;
  }

  void run(const Frame& frame) const override {
    const int8_t *a = frame.value<int8_t>(operands_[0].id), *b = frame.value<int8_t>(operands_[1].id);
    int8_t* out = frame.value<int8_t>(output_);
    for (int64_t i = 0; i < elements_; ++i) {
      const int64_t sum = scales_(a[i] - operands_[0].zero_point, b[i] - operands_[1].zero_point);
      out[i] = static_cast<int8_t>(clamp(sum + output_zero_point_, bounds_.low, bounds_.high));
    }
  }

 private:
  struct Operand {
    int64_t id = 0;
    int32_t zero_point = 0;
  };

  static float checked_operand(const OperatorView& op, size_t i) {
    const Tensor& tensor = op.input(i);
    if (tensor.constant) op.unsupported("a constant operand");
    if (tensor.shape != op.output().shape) op.unsupported("an operand of another shape than the output (broadcasting)");
    op.require(tensor.dtype == op.output().dtype, "operands and output have different types");
    op.zero_point(tensor);
    return tensor.scale[0];
  }

  const int64_t output_, elements_;
  Operand operands_[2];
  AddScales scales_{};
  int32_t output_zero_point_ = 0;
  Bounds bounds_;
};

// From one 8-bit quantization to another: RELU, RELU6 (with bounds) and QUANTIZE of 8-bit values.
class Requantize final : public Operation {
 public:
  Requantize(const OperatorView& op, Bounds bounds)
      : input_(op.input_id(0)), output_(op.output_id()), elements_(op.output().elements), bounds_(bounds) {
    const Tensor &input = op.input(0), &output = op.output();
    op.require(input.elements == elements_, "input and output differ in size");
    zero_point_ = op.zero_point(input);
    output_zero_point_ = op.zero_point(output);
    multiplier_ = checked_fixed_point(op, static_cast<double>(input.scale[0]) / static_cast<double>(output.scale[0]));
    work = elements_;
  }

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* out = frame.value<int8_t>(output_);
    for (int64_t i = 0; i < elements_; ++i) {
      const int64_t value = static_cast<int64_t>(multiply_twice_rounded(input[i] - zero_point_, multiplier_)) + output_zero_point_;
      out[i] = static_cast<int8_t>(clamp(value, bounds_.low, bounds_.high));
    }
  }

 private:
  const int64_t input_, output_, elements_;
  const Bounds bounds_;
  int32_t zero_point_ = 0, output_zero_point_ = 0;
  FixedPoint multiplier_;
};

class QuantizeFloat final : public Operation {
 public:
  explicit QuantizeFloat(const OperatorView& op) : input_(op.input_id(0)), output_(op.output_id()), elements_(op.output().elements) {
    op.require(op.input(0).elements == elements_, "input and output differ in size");
    zero_point_ = op.zero_point(op.output());
    scale_ = op.output().scale[0];
    work = elements_;
  }

  void run(const Frame& frame) const override {
    const float* input = frame.value<float>(input_);
    int8_t* out = frame.value<int8_t>(output_);
    for (int64_t i = 0; i < elements_; ++i) {
      // Clamped before the cast, which is undefined for large values; NaN becomes the zero point.
      const float steps = std::clamp(std::round(input[i] / scale_), -512.0f, 512.0f);
      out[i] = static_cast<int8_t>(clamp(static_cast<int32_t>(std::isnan(steps) ? 0 : steps) + zero_point_, -128, 127));
    }
  }

 private:
  const int64_t input_, output_, elements_;
  int32_t zero_point_ = 0;
  float scale_ = 1;
};

class Dequantize final : public Operation {
 public:
  explicit Dequantize(const OperatorView& op) : input_(op.input_id(0)), output_(op.output_id()), elements_(op.output().elements) {
    op.require(op.input(0).elements == elements_, "input and output differ in size");
    if (op.output().dtype != DType::float32) op.unsupported("an output that is not float32");
    zero_point_ = op.zero_point(op.input(0));
    scale_ = op.input(0).scale[0];
    work = elements_;
  }

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    float* out = frame.value<float>(output_);
    for (int64_t i = 0; i < elements_; ++i) out[i] = scale_ * static_cast<float>(input[i] - zero_point_);
  }

 private:
  const int64_t input_, output_, elements_;
  int32_t zero_point_ = 0;
  float scale_ = 1;
};

}  // namespace

std::unique_ptr<Operation> make_add(const OperatorView& op, const Kernels&) { return std::make_unique<Add>(op); }

std::unique_ptr<Operation> make_relu(const OperatorView& op, const Kernels&) {
  op.require(op.input(0).dtype == op.output().dtype, "the output has another type than the input");
  return std::make_unique<Requantize>(op, activation_bounds(op, op.op()));
}

std::unique_ptr<Operation> make_quantize(const OperatorView& op, const Kernels&) {
  if (op.input(0).dtype == DType::float32) return std::make_unique<QuantizeFloat>(op);
  return std::make_unique<Requantize>(op, Bounds{});
}

std::unique_ptr<Operation> make_dequantize(const OperatorView& op, const Kernels&) { return std::make_unique<Dequantize>(op); }

}  // namespace pcqat::integer
