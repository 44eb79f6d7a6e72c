#include "integer/requantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace pcqat::integer {

FixedPoint checked_fixed_point(const OperatorView& op, double real) {
  if (!(real < 1 << 30)) op.unsupported("a ratio of scales of 2^30 or more");
  return to_fixed_point(real);
}

Bounds activation_bounds(const OperatorView& op, const std::string& activation) {
  const Tensor& output = op.output();
  const int32_t zero_point = op.zero_point(output);
  const auto quantized = [&](float value) {  // rounded half away from zero, in f32, as TFLite does
    const float steps = std::round(value / output.scale[0]);
    return static_cast<int32_t>(std::clamp(static_cast<float>(zero_point) + steps, -128.0f, 127.0f));
  };
  if (activation == "NONE") return {};
  if (activation == "RELU") return {quantized(0), 127};
  if (activation == "RELU6") return {quantized(0), quantized(6)};
  if (activation == "RELU_N1_TO_1") return {quantized(-1), quantized(1)};
  op.unsupported("the fused activation " + activation);
}

Bounds fused_bounds(const OperatorView& op) { return activation_bounds(op, op.text("fusedActivationFunction", "NONE")); }

Requantizer::Requantizer(const OperatorView& op, const Tensor& input, const Tensor& weights, int64_t channels)
    : multiplier(padded(channels)), left_shift(padded(channels)), right_shift(padded(channels)), zero_point(op.zero_point(op.output())),
      bounds(fused_bounds(op)) {
  op.require(op.output().dtype == input.dtype, "the output has another type than the input");
  const float input_scale = input.scale[0];
  const double output_scale = op.output().scale[0];
  for (int64_t c = 0; c < channels; ++c) {
    const float weight_scale = weights.scale[weights.scale.size() > 1 ? c : 0];
    const double product = input.dtype == DType::uint8 ? static_cast<double>(input_scale * weight_scale)
                                                       : static_cast<double>(input_scale) * static_cast<double>(weight_scale);
    const FixedPoint m = checked_fixed_point(op, product / output_scale);
    multiplier[c] = m.multiplier;
    left_shift[c] = std::max(m.shift, 0);
    right_shift[c] = std::max(-m.shift, 0);
  }
}

Requantizer::Requantizer(FixedPoint m, int64_t channels, int32_t zero)
    : multiplier(padded(channels), m.multiplier), left_shift(padded(channels), std::max(m.shift, 0)),
      right_shift(padded(channels), std::max(-m.shift, 0)), zero_point(zero) {}

std::vector<int32_t> read_bias(const OperatorView& op, size_t input, int64_t channels) {
  std::vector<int32_t> bias(padded(channels));
  if (!op.has_input(input)) return bias;
  const Tensor& tensor = op.constant(input, DType::int32);
  op.require(tensor.elements == channels, "the bias has another length than the output has channels");
  std::memcpy(bias.data(), tensor.data.data(), channels * sizeof(int32_t));
  return bias;
}

std::vector<int8_t> read_weights(const OperatorView& op, const Tensor& weights, const Tensor& input) {
  op.require(weights.dtype == input.dtype, "the weights have another type than the input");
  std::vector<int8_t> values(weights.elements);
  const uint8_t flip = weights.dtype == DType::uint8 ? 0x80 : 0;
  for (int64_t i = 0; i < weights.elements; ++i) values[i] = static_cast<int8_t>(weights.data[i] ^ flip);
  return values;
}

int64_t packable_bytes(const OperatorView& op, int64_t bytes) {
  if (bytes > kMaxProgramBytes) op.unsupported("weights of this size");
  return bytes;
}

AlignedBuffer pack_weights(const OperatorView& op, const Int8Kernels& kernels, const std::vector<int8_t>& weights,
                           const std::vector<int32_t>& bias, int64_t n, int64_t k) {
  AlignedBuffer packed(packable_bytes(op, kernels.packed_bytes(n, k)));
  kernels.pack(weights.data(), bias.data(), n, k, packed.data());
  return packed;
}

}  // namespace pcqat::integer
