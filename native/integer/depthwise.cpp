// DEPTHWISE_CONV_2D: every output channel convolves one input channel.
#include <algorithm>
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
    const std::vector<int8_t> values = read_weights(op, weights, op.input(0));
    const int32_t zero_point = op.weight_zero_point(weights);
    fold_zero_point(values, zero_point);
    // Windows with so much padding or dilation that their lines are mostly zero points are none that the fast kernels are for.
    const bool is_usual = std::max((w_.kernel_h - 1) * w_.dilation_h, (w_.kernel_w - 1) * w_.dilation_w) < 64 && w_.stride_w <= 8;
    if (kernels_.fused != nullptr && is_usual && zero_point == 0) pack_fused(op, values);
    if (fused_ == nullptr) unpack(values, zero_point);
    accumulator_bytes_ = padded(w_.out_c) * 4;
    tap_bytes_ = w_.taps() * static_cast<int64_t>(sizeof(const int8_t*));
    // With a depth multiplier the input's channels are repeated once, so that the kernel sees one input per output.
    repeated_bytes_ = multiplier_ == 1 ? 0 : w_.in_h * w_.in_w * w_.out_c + kInt8Overread;
    scratch_bytes = tap_bytes_ + accumulator_bytes_ + repeated_bytes_;
    if (fused_ != nullptr) plan_lines();
    work = w_.out_h * w_.out_w * w_.out_c * w_.taps();
    outside_.assign(w_.out_c, static_cast<int8_t>(input_zero_point_));
    rows = w_.out_h;
  }

  void run_rows(const Frame& frame, int64_t first, int64_t last) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    if (multiplier_ > 1) input = repeat(input, reinterpret_cast<int8_t*>(frame.scratch + tap_bytes_ + accumulator_bytes_));
    int8_t* out = frame.value<int8_t>(output_) + first * w_.out_w * w_.out_c;
    if (fused_ == nullptr)
      run_plain(frame, input, first, last, out);
    else if (is_three_)
      run_three(frame, input, first, last, out);
    else
      run_fused(frame, input, first, last, out);
  }

 private:
  void run_three(const Frame& frame, const int8_t* input, int64_t first, int64_t last, int8_t* out) const {
    int8_t* outside = lines_of(frame);
    std::memset(outside, input_zero_point_, line_bytes_);
    const DepthwiseImage image{input, outside, w_.in_h, w_.in_w, w_.out_w, w_.out_c, w_.stride_h, w_.stride_w, w_.pad_top, w_.pad_left};
    fused_->depthwise_three(image, first, last, packed_.data(), requantizer_.view(), out);
  }

  int8_t* lines_of(const Frame& frame) const {
    return reinterpret_cast<int8_t*>(frame.scratch) + repeated_bytes_ + tap_bytes_ + accumulator_bytes_;
  }

  // Lines of the input with their padding, split by the columns of a stride; the last ones are kept for the next row of outputs.
  void run_fused(const Frame& frame, const int8_t* input, int64_t first, int64_t last, int8_t* out) const {
    const int8_t** lines = reinterpret_cast<const int8_t**>(frame.scratch);
    int8_t* outside = lines_of(frame);
    int8_t* ring = outside + line_bytes_;
    std::memset(outside, input_zero_point_, line_bytes_);
    const DepthwiseRow row{lines, offsets_.data(), w_.kernel_h, w_.kernel_w, w_.stride_w, w_.dilation_w, w_.out_w, w_.out_c};
    const Requantization parameters = requantizer_.view();
    int64_t next = std::max<int64_t>(w_.row(first, 0), 0);  // first row that was not made yet
    for (int64_t y = first; y < last; ++y, out += w_.out_w * w_.out_c) {
      const int64_t end = std::min(w_.row(y, w_.kernel_h - 1) + 1, w_.in_h);
      for (next = std::max(next, w_.row(y, 0)); next < end; ++next) {
        make_line(input + next * w_.in_w * w_.out_c, ring + next % ring_lines_ * line_bytes_);
      }
      for (int64_t ky = 0; ky < w_.kernel_h; ++ky) {
        const int64_t r = w_.row(y, ky);
        lines[ky] = r >= 0 && r < w_.in_h ? ring + r % ring_lines_ * line_bytes_ : outside;
      }
      fused_->depthwise(row, packed_.data(), parameters, out);
    }
  }

  void make_line(const int8_t* input, int8_t* line) const {
    const int64_t channels = w_.out_c;
    if (w_.stride_w == 1) {
      const int64_t before = w_.pad_left, taken = std::max<int64_t>(std::min(w_.in_w, part_w_ - before), 0);
      std::memset(line, input_zero_point_, before * channels);
      std::memcpy(line + before * channels, input, taken * channels);
      std::memset(line + (before + taken) * channels, input_zero_point_, (part_w_ - before - taken) * channels);
      return;
    }
    std::memset(line, input_zero_point_, line_bytes_);
    int64_t part = w_.pad_left % w_.stride_w, index = w_.pad_left / w_.stride_w;
    for (int64_t x = 0; x < w_.in_w && index < part_w_; ++x, input += channels) {
      copy(line + (part * part_w_ + index) * channels, input, channels);
      if (++part == w_.stride_w) part = 0, ++index;
    }
  }

  // Pieces of a fixed size take a fraction of the library's time for so few bytes.
  static void copy(int8_t* to, const int8_t* from, int64_t bytes) {
    constexpr int64_t kPiece = 16;
    int64_t i = 0;
    for (; i + kPiece <= bytes; i += kPiece) std::memcpy(to + i, from + i, kPiece);
    if (i < bytes) std::memcpy(to + i, from + i, bytes - i);
  }

  void run_plain(const Frame& frame, const int8_t* input, int64_t first, int64_t last, int8_t* out) const {
    const int8_t** taps = reinterpret_cast<const int8_t**>(frame.scratch);
    int32_t* acc = reinterpret_cast<int32_t*>(frame.scratch + tap_bytes_);
    for (int64_t y = first; y < last; ++y) {
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

  // Σ (x − zx)(w − zw) = Σ x(w − zw) − zx Σ (w − zw): the second part goes into the bias.
  void fold_zero_point(const std::vector<int8_t>& values, int32_t zero_point) {
    for (size_t i = 0; i < values.size(); ++i) {
      int32_t& bias = bias_[i % w_.out_c];
      bias = static_cast<int32_t>(static_cast<uint32_t>(bias) - static_cast<uint32_t>(input_zero_point_ * (values[i] - zero_point)));
    }
  }

  void unpack(const std::vector<int8_t>& values, int32_t zero_point) {
    for (const int8_t value : values) weights_.push_back(value - zero_point);
    constant_bytes = static_cast<int64_t>(weights_.size() * sizeof(int32_t));
  }

  void pack_fused(const OperatorView& op, const std::vector<int8_t>& values) {
    packed_ = AlignedBuffer(packable_bytes(op, kernels_.fused->depthwise_bytes(w_.out_c, w_.kernel_h, w_.kernel_w)));
    if (!kernels_.fused->pack_depthwise(values.data(), bias_.data(), w_.out_c, w_.kernel_h, w_.kernel_w, requantizer_.view(),
                                        packed_.data())) {
      packed_ = AlignedBuffer();
      return;
    }
    fused_ = kernels_.fused;
    constant_bytes = static_cast<int64_t>(packed_.bytes());
  }

  void plan_lines() {
    const bool is_three = w_.kernel_h == 3 && w_.kernel_w == 3 && w_.dilation_h == 1 && w_.dilation_w == 1 && w_.stride_w <= 2;
    is_three_ = is_three && w_.out_c >= FusedInt8Kernels::kFewestChannels;
    if (is_three_) {
      line_bytes_ = w_.in_w * w_.out_c;
      scratch_bytes += line_bytes_ + kInt8Overread;
      return;
    }
    const int64_t reach = (w_.kernel_w - 1) * w_.dilation_w;
    part_w_ = w_.out_w + reach / w_.stride_w;
    for (int64_t kx = 0; kx < w_.kernel_w; ++kx) {
      const int64_t column = kx * w_.dilation_w;
      offsets_.push_back((column % w_.stride_w * part_w_ + column / w_.stride_w) * w_.out_c);
    }
    line_bytes_ = w_.stride_w * part_w_ * w_.out_c;
    ring_lines_ = std::min((w_.kernel_h - 1) * w_.dilation_h + 1, w_.in_h);
    scratch_bytes += (1 + ring_lines_) * line_bytes_ + kInt8Overread;
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
  const FusedInt8Kernels* fused_ = nullptr;
  bool is_three_ = false;  // 3×3 windows, read in place
  Requantizer requantizer_;
  AlignedBuffer packed_;
  std::vector<int32_t> weights_, bias_;
  std::vector<int8_t> outside_;
  std::vector<int64_t> offsets_;                          // of the taps of a row in a line
  int64_t part_w_ = 0, line_bytes_ = 0, ring_lines_ = 0;  // columns of a part of a line; lines kept
};

}  // namespace

std::unique_ptr<Operation> make_depthwise_conv2d(const OperatorView& op, const Kernels& kernels) {
  return std::make_unique<DepthwiseConv2d>(op, kernels);
}

}  // namespace pcqat::integer
