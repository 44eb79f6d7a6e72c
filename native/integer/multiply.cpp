// MUL: the product of two activations; one of them may be a value per channel (the last axis) or a single one.
#include <algorithm>

#include "integer/requantize.h"

namespace pcqat::integer {

namespace {

class Multiply final : public Operation {
 public:
  explicit Multiply(const OperatorView& op) : output_(op.output_id()), elements_(op.output().elements) {
    const Tensor& output = op.output();
    for (int i = 0; i < 2; ++i) {
      const Tensor& tensor = op.input(i);
      if (tensor.constant) op.unsupported("a constant operand");
      op.require(tensor.dtype == output.dtype, "operands and output have different types");
      operands_[i] = {op.input_id(i), op.zero_point(tensor), period_of(op, tensor)};
    }
    op.require(std::max(operands_[0].period, operands_[1].period) == elements_, "the output's shape does not follow from the inputs'");
    zero_point_ = op.zero_point(output);
    // In f32, as TFLite computes it.
    multiplier_ = checked_fixed_point(op, op.input(0).scale[0] * op.input(1).scale[0] / output.scale[0]);
    bounds_ = fused_bounds(op);
    work = elements_;
  }

  void run(const Frame& frame) const override {
    const int8_t *a = frame.value<int8_t>(operands_[0].id), *b = frame.value<int8_t>(operands_[1].id);
    int8_t* out = frame.value<int8_t>(output_);
    const int64_t rest_a = operands_[0].period, rest_b = operands_[1].period;
    for (int64_t i = 0, ia = 0, ib = 0; i < elements_; ++i) {
      const int32_t product = (a[ia] - operands_[0].zero_point) * (b[ib] - operands_[1].zero_point);
      const int64_t value = static_cast<int64_t>(multiply_twice_rounded(product, multiplier_)) + zero_point_;
      out[i] = static_cast<int8_t>(clamp(value, bounds_.low, bounds_.high));
      if (++ia == rest_a) ia = 0;
      if (++ib == rest_b) ib = 0;
    }
  }

 private:
  struct Operand {
    int64_t id = 0;
    int32_t zero_point = 0;
    int64_t period = 1;  // its elements repeat after so many of the output's
  };

  // Shapes are aligned at their last axis; leading ones are broadcast. Ones in the middle would need strides.
  static int64_t period_of(const OperatorView& op, const Tensor& tensor) {
    const std::vector<int64_t>&shape = tensor.shape, &out = op.output().shape;
    size_t ones = 0;
    while (ones < shape.size() && shape[ones] == 1) ++ones;
    const size_t length = shape.size() - ones;
    if (shape.size() > out.size()) op.unsupported("an operand of higher rank than the output");
    for (size_t i = 1; i <= length; ++i) {
      if (shape[shape.size() - i] != out[out.size() - i]) op.unsupported("operands of these shapes (broadcasting of inner axes)");
    }
    return tensor.elements;
  }

  const int64_t output_, elements_;
  Operand operands_[2];
  int32_t zero_point_ = 0;
  FixedPoint multiplier_;
  Bounds bounds_;
};

}  // namespace

std::unique_ptr<Operation> make_multiply(const OperatorView& op, const Kernels&) { return std::make_unique<Multiply>(op); }

}  // namespace pcqat::integer
