// TRANSPOSE_CONV: every input position adds a window of products to the output. The products of a few positions are one matrix
// product; their windows are added into 32-bit sums, which are scaled at the end.
#include <algorithm>
#include <cstring>

#include "integer/requantize.h"
#include "integer/window.h"

namespace pcqat::integer {

namespace {

// Input positions whose products are held at once.
constexpr int64_t kPositions = 16;
// Inputs of the operator.
constexpr size_t kShape = 0, kInput = 2, kBias = 3;

class TransposeConv final : public Operation {
 public:
  TransposeConv(const OperatorView& op, const Kernels& kernels)
      : kernels_(*kernels.int8), input_(op.input_id(kInput)), output_(op.output_id()) {
    const Tensor &input = op.input(kInput), &output = op.output(), &weights = read_kernel(op, 0, input);
    check_shapes(op, input, weights);
    in_h_ = input.shape[1], in_w_ = input.shape[2], depth_ = input.shape[3];
    out_h_ = output.shape[1], out_w_ = output.shape[2], channels_ = output.shape[3];
    kernel_h_ = weights.shape[1], kernel_w_ = weights.shape[2];
    read_geometry(op);
    input_zero_point_ = op.zero_point(input);
    weight_zero_point_ = op.weight_zero_point(weights);
    requantizer_ = Requantizer(op, input, weights, channels_);
    bias_ = read_bias(op, kBias, channels_);
    columns_ = kernel_h_ * kernel_w_ * channels_;
    pack(op, input, weights);

    sum_stride_ = padded(channels_);
    sum_bytes_ = out_h_ * out_w_ * sum_stride_ * 4;
    column_stride_ = padded(columns_);
    scratch_bytes = sum_bytes_ + kPositions * column_stride_ * 4;
    work = in_h_ * in_w_ * columns_ * depth_;
  }

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* out = frame.value<int8_t>(output_);
    uint32_t* sums = reinterpret_cast<uint32_t*>(frame.scratch);
    int32_t* products = reinterpret_cast<int32_t*>(frame.scratch + sum_bytes_);
    for (int64_t p = 0; p < out_h_ * out_w_; ++p) std::memcpy(sums + p * sum_stride_, bias_.data(), sum_stride_ * 4);
    for (int64_t start = 0; start < in_h_ * in_w_; start += kPositions) {
      const int64_t count = std::min(kPositions, in_h_ * in_w_ - start);
      const int8_t* values = input + start * depth_;
      kernels_.matmul(values, count, depth_, packed_.data(), columns_, depth_, products, column_stride_);
      for (int64_t i = 0; i < count; ++i) {
        add_window(start + i, products + i * column_stride_, correction(values + i * depth_), sums);
      }
    }
    for (int64_t p = 0; p < out_h_ * out_w_; ++p) {
      kernels_.requantize(reinterpret_cast<int32_t*>(sums + p * sum_stride_), channels_, requantizer_.view(), out + p * channels_);
    }
  }

 private:
  static void check_shapes(const OperatorView& op, const Tensor& input, const Tensor& weights) {
    const Tensor &output = op.output(), &shape = op.constant(kShape, DType::int32);
    op.require(input.shape.size() == 4 && output.shape.size() == 4, "input and output must have rank 4");
    if (input.shape[0] != 1) op.unsupported("a batch dimension other than 1");
    op.require(shape.elements == 4, "the output shape must have 4 elements");
    for (size_t i = 0; i < 4; ++i) {
      int32_t dimension;
      std::memcpy(&dimension, shape.data.data() + 4 * i, 4);
      op.require(dimension == output.shape[i], "the output's shape is not the one that the first input gives");
    }
    op.require(output.shape[0] == 1, "the output must have batch 1");
    op.require(weights.shape[0] == output.shape[3], "the weights have another number of filters than the output has channels");
    op.require(weights.shape[3] == input.shape[3], "the weights have another depth than the input");
    op.require(weights.shape[1] <= kMaxWindowOption && weights.shape[2] <= kMaxWindowOption, "the window is too large");
  }

  // The window of a convolution from the output back to the input.
  void read_geometry(const OperatorView& op) {
    stride_h_ = op.integer("strideH", 1, 1, kMaxWindowOption), stride_w_ = op.integer("strideW", 1, 1, kMaxWindowOption);
    const bool same = read_padding(op) == "SAME";
    const Extent h = window_extent(op, same, out_h_, kernel_h_, stride_h_, 1);
    const Extent w = window_extent(op, same, out_w_, kernel_w_, stride_w_, 1);
    op.require(h.size == in_h_ && w.size == in_w_, "the output's height and width do not belong to the input's");
    pad_top_ = h.before, pad_left_ = w.before;
  }

  // [out, h, w, in] → [h, w, out, in], so that a window is added channel by channel. As in Conv2d, everything but Σ x·w and zw Σ x
  // goes into the bias of the product.
  void pack(const OperatorView& op, const Tensor& input, const Tensor& tensor) {
    const std::vector<int8_t> weights = read_weights(op, tensor, input);
    std::vector<int8_t> reordered(weights.size());
    std::vector<int32_t> offsets(padded(columns_));
    const int64_t taps = kernel_h_ * kernel_w_;
    for (int64_t c = 0; c < channels_; ++c) {
      for (int64_t t = 0; t < taps; ++t) {
        const int64_t column = t * channels_ + c;
        const int8_t* from = weights.data() + (c * taps + t) * depth_;
        std::memcpy(reordered.data() + column * depth_, from, depth_);
        int64_t sum = 0;
        for (int64_t i = 0; i < depth_; ++i) sum += from[i];
        offsets[column] = static_cast<int32_t>(static_cast<uint32_t>(input_zero_point_ * (depth_ * weight_zero_point_ - sum)));
      }
    }
    packed_ = pack_weights(op, kernels_, reordered, offsets, columns_, depth_);
    constant_bytes = static_cast<int64_t>(packed_.bytes());
  }

  uint32_t correction(const int8_t* values) const {
    if (weight_zero_point_ == 0) return 0;
    int64_t sum = 0;
    for (int64_t i = 0; i < depth_; ++i) sum += values[i];
    return static_cast<uint32_t>(sum * weight_zero_point_);
  }

  void add_window(int64_t position, const int32_t* products, uint32_t correction, uint32_t* sums) const {
    const int64_t top = position / in_w_ * stride_h_ - pad_top_, left = position % in_w_ * stride_w_ - pad_left_;
    for (int64_t ky = std::max<int64_t>(-top, 0); ky < std::min(kernel_h_, out_h_ - top); ++ky) {
      for (int64_t kx = std::max<int64_t>(-left, 0); kx < std::min(kernel_w_, out_w_ - left); ++kx) {
        const int32_t* from = products + (ky * kernel_w_ + kx) * channels_;
        uint32_t* to = sums + ((top + ky) * out_w_ + left + kx) * sum_stride_;
        for (int64_t c = 0; c < channels_; ++c) to[c] += static_cast<uint32_t>(from[c]) - correction;
      }
    }
  }

  const Int8Kernels& kernels_;
  const int64_t input_, output_;
  int64_t in_h_ = 0, in_w_ = 0, depth_ = 0, out_h_ = 0, out_w_ = 0, channels_ = 0, kernel_h_ = 0, kernel_w_ = 0;
  int64_t stride_h_ = 1, stride_w_ = 1, pad_top_ = 0, pad_left_ = 0;
  int64_t columns_ = 0, sum_stride_ = 0, sum_bytes_ = 0, column_stride_ = 0;
  int32_t input_zero_point_ = 0, weight_zero_point_ = 0;
  Requantizer requantizer_;
  std::vector<int32_t> bias_;
  AlignedBuffer packed_;
};

}  // namespace

std::unique_ptr<Operation> make_transpose_conv(const OperatorView& op, const Kernels& kernels) {
  return std::make_unique<TransposeConv>(op, kernels);
}

}  // namespace pcqat::integer
