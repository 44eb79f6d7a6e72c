// FULLY_CONNECTED. Unlike the convolutions it rounds once (spec 5.2).
#include "integer/requantize.h"

namespace pcqat::integer {

namespace {

class FullyConnected final : public Operation {
 public:
  FullyConnected(const OperatorView& op, const Kernels& kernels)
      : kernels_(*kernels.int8), input_(op.input_id(0)), output_(op.output_id()) {
    const Tensor &input = op.input(0), &weights = op.constant(1, op.input(0).dtype), &output = op.output();
    op.require(weights.shape.size() == 2, "the weights must have the shape [outputs, inputs]");
    outputs_ = weights.shape[0], depth_ = weights.shape[1];
    op.require(input.elements % depth_ == 0, "the input's size is no multiple of the weights' depth");
    rows_ = input.elements / depth_;
    op.require(output.elements == rows_ * outputs_ && output.shape.back() == outputs_,
               "the output's shape does not follow from the weights");
    if (op.integer("weightsFormat", 0, 0, 1) != 0) op.unsupported("a shuffled weights format");
    op.require(weights.scale.size() <= 1 || weights.axis == 0, "the weights have scales along the wrong axis");
    input_zero_point_ = op.zero_point(input);
    weight_zero_point_ = op.weight_zero_point(weights);
    output_zero_point_ = op.zero_point(output);
    op.require(output.dtype == input.dtype, "the output has another type than the input");
    bounds_ = fused_bounds(op);
    set_multipliers(op, weights);
    pack(op, weights);
    scratch_bytes = rows_ * padded(outputs_) * 4;
    work = rows_ * outputs_ * depth_;
  }

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* out = frame.value<int8_t>(output_);
    int32_t* acc = reinterpret_cast<int32_t*>(frame.scratch);
    kernels_.matmul(input, rows_, depth_, packed_.data(), outputs_, depth_, acc, padded(outputs_));
    for (int64_t r = 0; r < rows_; ++r) {
      int64_t sum = 0;
      if (weight_zero_point_ != 0) {
        for (int64_t t = 0; t < depth_; ++t) sum += input[r * depth_ + t];
      }
      const uint32_t correction = static_cast<uint32_t>(sum * weight_zero_point_);
      for (int64_t c = 0; c < outputs_; ++c) {
        const int32_t value = static_cast<int32_t>(static_cast<uint32_t>(acc[r * padded(outputs_) + c]) - correction);
        const int64_t scaled = multiply_once_rounded(value, multipliers_[multipliers_.size() > 1 ? c : 0]);
        out[r * outputs_ + c] = static_cast<int8_t>(clamp(scaled + output_zero_point_, bounds_.low, bounds_.high));
      }
    }
  }

 private:
  void set_multipliers(const OperatorView& op, const Tensor& weights) {
    const float input_scale = op.input(0).scale[0];
    const double output_scale = op.output().scale[0];
    for (const float weight_scale : weights.scale) {
      // One scale: the product is taken in f32; several: in double, like the convolutions.
      const double product = weights.scale.size() == 1 ? static_cast<double>(input_scale * weight_scale)
                                                       : static_cast<double>(input_scale) * static_cast<double>(weight_scale);
      multipliers_.push_back(checked_fixed_point(op, product / output_scale));
    }
  }

  // See conv.cpp for the zero points.
  void pack(const OperatorView& op, const Tensor& tensor) {
    const std::vector<int8_t> weights = read_weights(op, tensor, op.input(0));
    std::vector<int32_t> bias = read_bias(op, 2, outputs_);
    for (int64_t c = 0; c < outputs_; ++c) {
      int64_t sum = 0;
      for (int64_t t = 0; t < depth_; ++t) sum += weights[c * depth_ + t];
      bias[c] = static_cast<int32_t>(static_cast<uint32_t>(bias[c] + input_zero_point_ * (depth_ * weight_zero_point_ - sum)));
    }
    packed_ = pack_weights(op, kernels_, weights, bias, outputs_, depth_);
    constant_bytes = static_cast<int64_t>(packed_.bytes());
  }

  const Int8Kernels& kernels_;
  const int64_t input_, output_;
  int64_t outputs_ = 0, depth_ = 0, rows_ = 0;
  int32_t input_zero_point_ = 0, weight_zero_point_ = 0, output_zero_point_ = 0;
  Bounds bounds_;
  std::vector<FixedPoint> multipliers_;
  AlignedBuffer packed_;
};

}  // namespace

std::unique_ptr<Operation> make_fully_connected(const OperatorView& op, const Kernels& kernels) {
  return std::make_unique<FullyConnected>(op, kernels);
}

}  // namespace pcqat::integer
