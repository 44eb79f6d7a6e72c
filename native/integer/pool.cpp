// AVERAGE_POOL_2D, MAX_POOL_2D and MEAN over height and width.
#include <algorithm>
#include <cstring>
#include <string>

#include "integer/requantize.h"
#include "integer/window.h"

namespace pcqat::integer {

namespace {

void require_same_quantization(const OperatorView& op) {
  const Tensor &input = op.input(0), &output = op.output();
  if (op.zero_point(input) != op.zero_point(output) || input.scale[0] != output.scale[0] || input.dtype != output.dtype) {
    op.unsupported("an output with other quantization parameters than the input");
  }
}

class Pool2d final : public Operation {
 public:
  explicit Pool2d(const OperatorView& op) : input_(op.input_id(0)), output_(op.output_id()), average_(op.op() == "AVERAGE_POOL_2D") {
    require_same_quantization(op);
    constexpr int64_t kMax = 1 << 20;
    w_ = read_window(op, op.integer("filterHeight", 1, 1, kMax), op.integer("filterWidth", 1, 1, kMax));
    op.require(w_.out_c == w_.in_c, "the output has another number of channels than the input");
    bounds_ = fused_bounds(op);
    scratch_bytes = w_.in_c * 4;
    work = w_.out_h * w_.out_w * w_.out_c * w_.taps();
    // The mean of int8 values is rounded half away from zero, of uint8 values half up: the executor holds value − 128.
    offset_ = op.input(0).dtype == DType::uint8 ? 128 : 0;
  }

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* out = frame.value<int8_t>(output_);
    int32_t* acc = reinterpret_cast<int32_t*>(frame.scratch);
    for (int64_t y = 0; y < w_.out_h; ++y) {
      const int64_t top = w_.row(y, 0), first_row = std::max<int64_t>(top, 0), last_row = std::min(top + w_.kernel_h, w_.in_h);
      for (int64_t x = 0; x < w_.out_w; ++x, out += w_.out_c) {
        const int64_t left = w_.column(x, 0), first = std::max<int64_t>(left, 0), last = std::min(left + w_.kernel_w, w_.in_w);
        std::fill(acc, acc + w_.in_c, average_ ? 0 : -128);
        for (int64_t row = first_row; row < last_row; ++row) {
          for (int64_t column = first; column < last; ++column) gather(acc, input + (row * w_.in_w + column) * w_.in_c);
        }
        finish(acc, static_cast<int32_t>((last_row - first_row) * (last - first)), out);
      }
    }
  }

 private:
  void gather(int32_t* acc, const int8_t* values) const {
    if (average_) {
      for (int64_t c = 0; c < w_.in_c; ++c) acc[c] += values[c] + offset_;
    } else {
      for (int64_t c = 0; c < w_.in_c; ++c) acc[c] = std::max<int32_t>(acc[c], values[c]);
    }
  }

  void finish(const int32_t* acc, int32_t count, int8_t* out) const {
    for (int64_t c = 0; c < w_.in_c; ++c) {
      int32_t value = acc[c];
      if (average_) value = (value > 0 ? value + count / 2 : value - count / 2) / count - offset_;
      out[c] = static_cast<int8_t>(clamp(value, bounds_.low, bounds_.high));
    }
  }

  const int64_t input_, output_;
  const bool average_;
  int32_t offset_ = 0;
  Window w_{};
  Bounds bounds_;
};

// Spec 5.2: the multiplier is divided by the number of elements, then rounded twice.
class Mean final : public Operation {
 public:
  Mean(const OperatorView& op, const Kernels& kernels) : kernels_(*kernels.int8), input_(op.input_id(0)), output_(op.output_id()) {
    const Tensor &input = op.input(0), &output = op.output();
    op.require(input.shape.size() == 4, "the input must have rank 4");
    check_axes(op);
    count_ = input.shape[1] * input.shape[2], channels_ = input.shape[3];
    if (input.shape[0] != 1) op.unsupported("a batch dimension other than 1");
    op.require(output.elements == channels_ && output.dtype == input.dtype, "the output's shape or type does not follow from the input's");
    zero_point_ = op.zero_point(input);
    const int32_t output_zero_point = op.zero_point(output);  // before its scale is read: they are checked together
    const double ratio = static_cast<double>(input.scale[0]) / static_cast<double>(output.scale[0]);
    requantizer_ = Requantizer(divided(checked_fixed_point(op, ratio), count_), channels_, output_zero_point);
    scratch_bytes = padded(channels_) * 4;
    work = input.elements;
  }

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* out = frame.value<int8_t>(output_);
    int32_t* acc = reinterpret_cast<int32_t*>(frame.scratch);
    kernels_.sum_rows(input, count_, channels_, acc);
    const uint32_t offset = static_cast<uint32_t>(count_ * zero_point_);
    for (int64_t c = 0; c < channels_; ++c) acc[c] = static_cast<int32_t>(static_cast<uint32_t>(acc[c]) - offset);
    kernels_.requantize(acc, channels_, requantizer_.view(), out);
  }

 private:
  static void check_axes(const OperatorView& op) {
    const Tensor& axes = op.constant(1, DType::int32);
    bool reduced[4] = {};
    for (int64_t i = 0; i < axes.elements; ++i) {
      int32_t axis;
      std::memcpy(&axis, axes.data.data() + 4 * i, 4);
      op.require(axis >= -4 && axis < 4, "an axis is out of range");
      reduced[(axis + 4) % 4] = true;
    }
    if (reduced[0] || !reduced[1] || !reduced[2] || reduced[3]) op.unsupported("a mean over other axes than height and width");
  }

  const Int8Kernels& kernels_;
  const int64_t input_, output_;
  int64_t count_ = 0, channels_ = 0;
  int32_t zero_point_ = 0;
  Requantizer requantizer_;
};

}  // namespace

std::unique_ptr<Operation> make_pool2d(const OperatorView& op, const Kernels&) { return std::make_unique<Pool2d>(op); }
std::unique_ptr<Operation> make_mean(const OperatorView& op, const Kernels& kernels) { return std::make_unique<Mean>(op, kernels); }

}  // namespace pcqat::integer
