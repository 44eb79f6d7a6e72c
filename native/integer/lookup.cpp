// LOGISTIC, TANH, LEAKY_RELU and HARD_SWISH: one 8-bit value to another, so the arithmetic of TFLite's kernels fills a table of
// 256 entries when the operator is made.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "integer/hard_swish.h"
#include "integer/requantize.h"

namespace pcqat::integer {

namespace {

class LookUp final : public Operation {
 public:
  // `entry` gives the (not yet clamped) output for an input, both in the executor's domain.
  template <typename Entry>
  LookUp(const OperatorView& op, Entry&& entry) : input_(op.input_id(0)), output_(op.output_id()), elements_(op.output().elements) {
    for (int32_t value = -128; value < 128; ++value) table_[value + 128] = static_cast<int8_t>(clamp(entry(value), -128, 127));
    work = elements_;
  }

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* out = frame.value<int8_t>(output_);
    for (int64_t i = 0; i < elements_; ++i) out[i] = table_[input[i] + 128];
  }

 private:
  const int64_t input_, output_, elements_;
  int8_t table_[256];
};

void require_same_shape(const OperatorView& op) {
  op.require(op.input(0).shape == op.output().shape, "input and output differ in shape");
  op.require(op.input(0).dtype == op.output().dtype, "the output has another type than the input");
}

// The real function of the dequantized input, in f32, rounded half away from zero.
template <typename Function>
std::unique_ptr<Operation> make_function(const OperatorView& op, Function&& function) {
  const int32_t zero_point = op.zero_point(op.input(0)), output_zero_point = op.zero_point(op.output());
  const float scale = op.input(0).scale[0], inverse = 1 / op.output().scale[0];
  return std::make_unique<LookUp>(op, [&](int32_t value) {
    const float y = function(scale * static_cast<float>(value - zero_point));
    const float steps = std::clamp(std::round(y * inverse), -512.0f, 512.0f);  // before the cast, which is undefined for large values
    return static_cast<int32_t>(steps) + output_zero_point;
  });
}

}  // namespace

std::unique_ptr<Operation> make_logistic(const OperatorView& op, const Kernels&) {
  require_same_shape(op);
  if (op.output().scale.size() == 1 && (op.output().scale[0] != 1.0f / 256 || op.zero_point(op.output()) != -128)) {
    op.unsupported("an output with other quantization parameters than 1/256 and the lowest value");
  }
  // exp in double, rounded once: the same bits on every platform.
  return make_function(op, [](float x) { return 1.0f / (1.0f + static_cast<float>(std::exp(-static_cast<double>(x)))); });
}

std::unique_ptr<Operation> make_tanh(const OperatorView& op, const Kernels&) {
  require_same_shape(op);
  return make_function(op, [](float x) { return static_cast<float>(std::tanh(static_cast<double>(x))); });
}

std::unique_ptr<Operation> make_leaky_relu(const OperatorView& op, const Kernels&) {
  require_same_shape(op);
  const float alpha = static_cast<float>(op.number("alpha", 0));
  op.require(std::isfinite(alpha), "alpha must be finite");
  const int32_t zero_point = op.zero_point(op.input(0)), output_zero_point = op.zero_point(op.output());
  const float scale = op.input(0).scale[0], output_scale = op.output().scale[0];
  const double slope = scale * alpha / output_scale;
  checked_fixed_point(op, std::abs(slope));
  const FixedPoint negative = to_fixed_point(slope), positive = checked_fixed_point(op, scale / output_scale);
  return std::make_unique<LookUp>(op, [&](int32_t value) {
    const int32_t x = value - zero_point;
    return static_cast<int64_t>(multiply_twice_rounded(x, x >= 0 ? positive : negative)) + output_zero_point;
  });
}

std::unique_ptr<Operation> make_hard_swish(const OperatorView& op, const Kernels&) {
  require_same_shape(op);
  const int32_t zero_point = op.zero_point(op.input(0)), output_zero_point = op.zero_point(op.output());
  HardSwish kernel;
  if (!make_hard_swish(op.input(0).scale[0], op.output().scale[0], kernel))
    op.unsupported("an output scale so much smaller than the input's");
  return std::make_unique<LookUp>(op, [&](int32_t value) { return kernel(value - zero_point) + output_zero_point; });
}

}  // namespace pcqat::integer
