// LOGISTIC, TANH, LEAKY_RELU and HARD_SWISH: one 8-bit value to another, so the arithmetic of TFLite's kernels fills a table of
// 256 entries when the operator is made.
#include <algorithm>
#include <cmath>
#include <cstdlib>

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

// 16-bit parts of TFLite's HARD_SWISH.
int32_t saturate16(int64_t value) { return static_cast<int32_t>(std::clamp<int64_t>(value, INT16_MIN, INT16_MAX)); }
int32_t high_multiply16(int32_t x, int32_t multiplier) { return (x * multiplier + (1 << 14)) >> 15; }
// Saturates long before 16 bits have been shifted, so larger shifts need not be carried out.
int32_t saturating_shift16(int32_t x, int amount) { return saturate16(static_cast<int64_t>(x) * (int64_t{1} << std::min(amount, 16))); }

struct FixedPoint16 {
  int32_t multiplier;
  int shift;
};

FixedPoint16 to_fixed_point16(float real) {
  const FixedPoint m = to_fixed_point(real);
  return {static_cast<int32_t>(std::min<int64_t>((static_cast<int64_t>(m.multiplier) + (1 << 15)) >> 16, INT16_MAX)), m.shift};
}

// x · relu6(x + 3) / 6 with 16-bit products: x with 7 more bits, times a factor that runs from 0 to 1 while x runs from −3 to 3.
struct HardSwish {
  FixedPoint16 output, factor;
  int32_t zero_point, output_zero_point;

  int32_t operator()(int32_t value) const {
    const int32_t x = (value - zero_point) * 128;
    const int32_t unshifted = high_multiply16(x, output.multiplier);
    // The last bit of a left shift comes after the multiplication, so that saturation before it is overwritten.
    int32_t f = factor.shift > 0 ? saturating_shift16(x, factor.shift - 1) : x;
    f = high_multiply16(f, factor.multiplier);
    if (factor.shift > 0) f = saturating_shift16(f, 1);
    if (factor.shift < 0) f = rounding_shift(f, -factor.shift);
    f = (f + (1 << 15)) >> 1;
    const int32_t product = f * unshifted / (1 << 15);  // toward zero, which cancels the bias of the roundings above
    return rounding_shift(product, -output.shift) + output_zero_point;
  }
};

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
  HardSwish kernel{};
  kernel.zero_point = op.zero_point(op.input(0)), kernel.output_zero_point = op.zero_point(op.output());
  const float scale = op.input(0).scale[0] * (1.0f / 128), output_scale = op.output().scale[0];
  const float rescale = scale / output_scale, stretch = scale / (3.0f / 32768);
  checked_fixed_point(op, stretch);
  kernel.output = to_fixed_point16(rescale), kernel.factor = to_fixed_point16(stretch);
  if (!(rescale < 1) || kernel.output.shift > 0) op.unsupported("an output scale so much smaller than the input's");
  return std::make_unique<LookUp>(op, kernel);
}

}  // namespace pcqat::integer
