// DEPTHWISE_CONV_2D: every output channel convolves one input channel.
#include <cstring>

#include "integer/requantize.h"
#include "integer/window.h"

namespace pcqat::integer {

namespace {

class DepthwiseConv2d final : public Operation {
 public:
  DepthwiseConv2d(const OperatorView& op, const Kernels& kernels)
      : kernels_(*kernels.int8), input_(op.input_id(0)), output_(op.output_id()) {
    const Tensor& weights = read_kernel(op, 3, op.input(0));
    input_zero_point_ = op.zero_point(op.input(0));
    w_ = read_window(op, weights.shape[1], weights.shape[2]);
    op.require(weights.shape[0] == 1 && weights.shape[3] == w_.out_c,
               "the weights must have the shape [1, height, width, output channels]");
    op.require(w_.out_c % w_.in_c == 0, "the output's channels are no multiple of the input's");
    multiplier_ = w_.out_c / w_.in_c;
    requantizer_ = Requantizer(op, op.input(0), weights, w_.out_c);
    bias_ = read_bias(op, 2, w_.out_c);
    unpack(op, weights);
    accumulator_bytes_ = padded(w_.out_c) * 4;
    tap_bytes_ = w_.taps() * static_cast<int64_t>(sizeof(const int8_t*));
    // With a depth multiplier the input's channels are repeated once, so that the kernel sees one input per output.
    repeated_bytes_ = multiplier_ == 1 ? 0 : w_.in_h * w_.in_w * w_.out_c;
    scratch_bytes = tap_bytes_ + accumulator_bytes_ + repeated_bytes_;
    work = w_.out_h * w_.out_w * w_.out_c * w_.taps();
    outside_.assign(w_.out_c, static_cast<int8_t>(input_zero_point_));
  }

  void run(const Frame& frame) const override {
    const int8_t** taps = reinterpret_cast<const int8_t**>(frame.scratch);
    int32_t* acc = reinterpret_cast<int32_t*>(frame.scratch + tap_bytes_);
    const int8_t* input = frame.value<int8_t>(input_);
    if (multiplier_ > 1) input = repeat(input, reinterpret_cast<int8_t*>(frame.scratch + tap_bytes_ + accumulator_bytes_));
    int8_t* out = frame.value<int8_t>(output_);
    for (int64_t y = 0; y < w_.out_h; ++y) {
      for (int64_t x = 0; x < w_.out_w; ++x, out += w_.out_c) {
        for (int64_t ky = 0, t = 0; ky < w_.kernel_h; ++ky) {
          const int64_t row = w_.row(y, ky);
          const bool row_inside = row >= 0 && row < w_.in_h;
          for (int64_t kx = 0; kx < w_.kernel_w; ++kx, ++t) {
            const int64_t column = w_.column(x, kx);
            const bool inside = row_inside && column >= 0 && column < w_.in_w;
            taps[t] = inside ? input + (row * w_.in_w + column) * w_.out_c : outside_.data();
          }
        }
        kernels_.depthwise(taps, w_.taps(), weights_.data(), bias_.data(), w_.out_c, acc);
        kernels_.requantize(acc, w_.out_c, requantizer_.view(), out);
      }
    }
  }

 private:
  // Weights minus their zero point; the input's zero point goes into the bias.
  void unpack(const OperatorView& op, const Tensor& tensor) {
    const std::vector<int8_t> values = read_weights(op, tensor, op.input(0));
    const int32_t zero_point = op.weight_zero_point(tensor);
    weights_.resize(values.size());
    constant_bytes = weights_.size() * sizeof(int32_t);
    for (size_t i = 0; i < values.size(); ++i) {
      weights_[i] = values[i] - zero_point;
      int32_t& bias = bias_[i % w_.out_c];
      bias = static_cast<int32_t>(static_cast<uint32_t>(bias) - static_cast<uint32_t>(input_zero_point_ * weights_[i]));
    }
  }

  const int8_t* repeat(const int8_t* input, int8_t* out) const {
    for (int64_t i = 0; i < w_.in_h * w_.in_w * w_.in_c; ++i) std::memset(out + i * multiplier_, input[i], multiplier_);
    return out;
  }

  const Int8Kernels& kernels_;
  const int64_t input_, output_;
  Window w_{};
  int64_t multiplier_ = 1, accumulator_bytes_ = 0, tap_bytes_ = 0, repeated_bytes_ = 0;
  int32_t input_zero_point_ = 0;
  Requantizer requantizer_;
  std::vector<int32_t> weights_, bias_;
  std::vector<int8_t> outside_;
};

}  // namespace

std::unique_ptr<Operation> make_depthwise_conv2d(const OperatorView& op, const Kernels& kernels) {
  return std::make_unique<DepthwiseConv2d>(op, kernels);
}

}  // namespace pcqat::integer
