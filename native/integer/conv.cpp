// CONV_2D: patches of the input times the packed weights.
#include <algorithm>
#include <cstring>

#include "integer/requantize.h"
#include "integer/window.h"

namespace pcqat::integer {

namespace {

// Output positions whose patches and accumulators are held at once.
constexpr int64_t kPositions = 48;

class Conv2d final : public Operation {
 public:
  Conv2d(const OperatorView& op, const Kernels& kernels) : kernels_(*kernels.int8), input_(op.input_id(0)), output_(op.output_id()) {
    const Tensor& weights = read_kernel(op, 0, op.input(0));
    input_zero_point_ = op.zero_point(op.input(0));
    weight_zero_point_ = op.weight_zero_point(weights);
    w_ = read_window(op, weights.shape[1], weights.shape[2]);
    op.require(weights.shape[0] == w_.out_c, "the weights have another number of filters than the output has channels");
    if (weights.shape[3] != w_.in_c) op.unsupported("weights with another depth than the input (grouped convolution)");
    depth_ = w_.taps() * w_.in_c;
    requantizer_ = Requantizer(op, op.input(0), weights, w_.out_c);
    pack(op, weights);

    // 1×1 windows are never padded and read the input in place.
    direct_ = w_.taps() == 1;
    patch_stride_ = (depth_ + 3) / 4 * 4;
    accumulator_stride_ = padded(w_.out_c);
    scratch_bytes = kPositions * (accumulator_stride_ * 4 + (direct_ ? 0 : patch_stride_));
    work = w_.out_h * w_.out_w * w_.out_c * depth_;
  }

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* output = frame.value<int8_t>(output_);
    if (direct_ && w_.stride_h == 1 && w_.stride_w == 1) {
      for (int64_t p = 0; p < w_.out_h * w_.out_w; p += kPositions) {
        const int64_t count = std::min(kPositions, w_.out_h * w_.out_w - p);
        multiply(frame, input + p * w_.in_c, w_.in_c, count, output + p * w_.out_c);
      }
      return;
    }
    int8_t* patches = reinterpret_cast<int8_t*>(frame.scratch) + kPositions * accumulator_stride_ * 4;
    for (int64_t y = 0; y < w_.out_h; ++y) {
      for (int64_t x = 0; x < w_.out_w; x += kPositions) {
        const int64_t count = std::min(kPositions, w_.out_w - x);
        int8_t* out = output + (y * w_.out_w + x) * w_.out_c;
        if (direct_) {
          multiply(frame, input + (y * w_.stride_h * w_.in_w + x * w_.stride_w) * w_.in_c, w_.stride_w * w_.in_c, count, out);
          continue;
        }
        for (int64_t i = 0; i < count; ++i) gather(input, y, x + i, patches + i * patch_stride_);
        multiply(frame, patches, patch_stride_, count, out);
      }
    }
  }

 private:
  // Σ (x − zx)(w − zw) = Σ x·w − zx Σ w − zw Σ x + n·zx·zw; everything but Σ x·w and zw Σ x goes into the bias.
  void pack(const OperatorView& op, const Tensor& tensor) {
    const std::vector<int8_t> weights = read_weights(op, tensor, op.input(0));
    std::vector<int32_t> bias = read_bias(op, 2, w_.out_c);
    for (int64_t c = 0; c < w_.out_c; ++c) {
      int64_t sum = 0;
      for (int64_t t = 0; t < depth_; ++t) sum += weights[c * depth_ + t];
      bias[c] = static_cast<int32_t>(static_cast<uint32_t>(bias[c] + input_zero_point_ * (depth_ * weight_zero_point_ - sum)));
    }
    packed_ = pack_weights(op, kernels_, weights, bias, w_.out_c, depth_);
    constant_bytes = packed_.size();
  }

  void gather(const int8_t* input, int64_t y, int64_t x, int8_t* patch) const {
    // Taps outside the input are its zero point, i.e. 0.
    const auto fill = [&](int64_t taps) {
      std::memset(patch, input_zero_point_, taps * w_.in_c);
      patch += taps * w_.in_c;
    };
    for (int64_t ky = 0; ky < w_.kernel_h; ++ky) {
      const int64_t row = w_.row(y, ky);
      if (row < 0 || row >= w_.in_h) {
        fill(w_.kernel_w);
        continue;
      }
      const int8_t* line = input + row * w_.in_w * w_.in_c;
      const int64_t first = w_.column(x, 0);
      if (w_.dilation_w == 1 && first >= 0 && first + w_.kernel_w <= w_.in_w) {
        std::memcpy(patch, line + first * w_.in_c, w_.kernel_w * w_.in_c);
        patch += w_.kernel_w * w_.in_c;
        continue;
      }
      for (int64_t kx = 0; kx < w_.kernel_w; ++kx) {
        const int64_t column = w_.column(x, kx);
        if (column < 0 || column >= w_.in_w) {
          fill(1);
        } else {
          std::memcpy(patch, line + column * w_.in_c, w_.in_c);
          patch += w_.in_c;
        }
      }
    }
  }

  void multiply(const Frame& frame, const int8_t* a, int64_t stride, int64_t count, int8_t* out) const {
    int32_t* acc = reinterpret_cast<int32_t*>(frame.scratch);
    kernels_.matmul(a, count, stride, packed_.data(), w_.out_c, depth_, acc, accumulator_stride_);
    for (int64_t i = 0; i < count; ++i) {
      int32_t* row = acc + i * accumulator_stride_;
      if (weight_zero_point_ != 0) {
        int64_t sum = 0;
        for (int64_t t = 0; t < depth_; ++t) sum += a[i * stride + t];
        const uint32_t correction = static_cast<uint32_t>(sum * weight_zero_point_);
        for (int64_t c = 0; c < w_.out_c; ++c) row[c] = static_cast<int32_t>(static_cast<uint32_t>(row[c]) - correction);
      }
      kernels_.requantize(row, w_.out_c, requantizer_.view(), out + i * w_.out_c);
    }
  }

  const Int8Kernels& kernels_;
  const int64_t input_, output_;
  Window w_{};
  int64_t depth_ = 0, patch_stride_ = 0, accumulator_stride_ = 0;
  int32_t input_zero_point_ = 0, weight_zero_point_ = 0;
  bool direct_ = false;
  Requantizer requantizer_;
  std::vector<uint8_t> packed_;
};

}  // namespace

std::unique_ptr<Operation> make_conv2d(const OperatorView& op, const Kernels& kernels) { return std::make_unique<Conv2d>(op, kernels); }

}  // namespace pcqat::integer
