// CONV_2D: windows of the input times the packed weights.
#include <algorithm>

#include "integer/padded_lines.h"
#include "integer/requantize.h"

namespace pcqat::integer {

namespace {

// Output positions whose patches and accumulators are held at once by the plain kernels.
constexpr int64_t kPositions = 48;
// Bytes of the input that are multiplied by all weights before the next: they stay in the second level of cache.
constexpr int64_t kReused = 128 * 1024;
// Rows that full tiles divide.
constexpr int64_t kTiled = 12;

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

    // 1×1 windows without strides are never padded and read the input in place.
    direct_ = w_.taps() == 1 && w_.stride_h == 1 && w_.stride_w == 1;
    positions_ = w_.out_h * w_.out_w;
    work = positions_ * w_.out_c * depth_;
    if (direct_) {
      // Threads share the larger factor: positions or columns of weights.
      by_columns_ = fused_ != nullptr && w_.out_c > positions_;
      rows = by_columns_ ? (w_.out_c + kColumns - 1) / kColumns : positions_;
    } else {
      lines_ = PaddedLines(op, w_, input_zero_point_);
      scratch_bytes = lines_.bytes();
      rows = w_.out_h;
    }
    if (fused_ == nullptr) plan_plain();
  }

  void run_rows(const Frame& frame, int64_t first, int64_t last) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* output = frame.value<int8_t>(output_);
    if (!direct_) {
      for (int64_t y = first; y < last; y += lines_.rows) run_windows(frame, input, y, std::min(last, y + lines_.rows), output);
    } else if (by_columns_) {
      multiply_in_place(input, 0, positions_, first * kColumns, std::min(last * kColumns, w_.out_c), output);
    } else {
      const int64_t step = fused_ == nullptr ? kPositions : std::max(kReused / depth_ / kTiled, int64_t{4}) * kTiled;
      for (int64_t p = first; p < last; p += step) {
        const int64_t count = std::min(step, last - p);
        if (fused_ != nullptr)
          multiply_in_place(input, p, count, 0, w_.out_c, output);
        else
          multiply_plain(frame, input + p * depth_, depth_, count, output + p * w_.out_c);
      }
    }
  }

 private:
  static constexpr int64_t kColumns = FusedInt8Kernels::kColumns;

  // Σ (x − zx)(w − zw) = Σ x·w − zx Σ w − zw Σ x + n·zx·zw; everything but Σ x·w and zw Σ x goes into the bias.
  void pack(const OperatorView& op, const Tensor& tensor) {
    const std::vector<int8_t> weights = read_weights(op, tensor, op.input(0));
    std::vector<int32_t> bias = read_bias(op, 2, w_.out_c);
    for (int64_t c = 0; c < w_.out_c; ++c) {
      int64_t sum = 0;
      for (int64_t t = 0; t < depth_; ++t) sum += weights[c * depth_ + t];
      bias[c] = static_cast<int32_t>(static_cast<uint32_t>(bias[c] + input_zero_point_ * (depth_ * weight_zero_point_ - sum)));
    }
    if (kernels_.fused != nullptr && weight_zero_point_ == 0) packed_ = pack_fused(op, weights, bias);
    if (fused_ == nullptr) packed_ = pack_weights(op, kernels_, weights, bias, w_.out_c, depth_);
    constant_bytes = static_cast<int64_t>(packed_.bytes());
  }

  AlignedBuffer pack_fused(const OperatorView& op, const std::vector<int8_t>& weights, const std::vector<int32_t>& bias) {
    const int64_t segments = w_.dilation_w == 1 ? w_.kernel_h : w_.taps(), taps = depth_ / segments;
    AlignedBuffer packed(packable_bytes(op, kernels_.fused->packed_bytes(w_.out_c, segments, taps)));
    if (kernels_.fused->pack(weights.data(), bias.data(), w_.out_c, segments, taps, requantizer_.view(), packed.data()))
      fused_ = kernels_.fused;
    return packed;
  }

  void plan_plain() {
    accumulator_stride_ = padded(w_.out_c);
    patch_stride_ = (depth_ + 3) / 4 * 4;
    accumulator_offset_ = aligned(scratch_bytes);
    patch_offset_ = accumulator_offset_ + kPositions * accumulator_stride_ * 4;
    scratch_bytes = patch_offset_ + (direct_ ? 0 : kPositions * patch_stride_ + PaddedLines::kCopied);
  }
  static int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

  void run_windows(const Frame& frame, const int8_t* input, int64_t first, int64_t last, int8_t* output) const {
    int8_t* lines = reinterpret_cast<int8_t*>(frame.scratch);
    lines_.make(input, first, last, lines);
    int8_t* out = output + first * w_.out_w * w_.out_c;
    if (fused_ != nullptr) {
      const int64_t segments = static_cast<int64_t>(lines_.offsets.size());
      for (int64_t y = 0; y < last - first; ++y, out += w_.out_w * w_.out_c) {
        const CodeRows rows{lines + lines_.corner(y, 0), w_.out_w, w_.stride_w * w_.in_c,
                            lines_.offsets.data(),       segments, lines_.segment_taps};
        fused_->matmul(rows, packed_.data(), w_.out_c, requantizer_.view(), out, w_.out_c);
      }
      return;
    }
    int8_t* patches = reinterpret_cast<int8_t*>(frame.scratch + patch_offset_);
    for (int64_t p = 0, end = (last - first) * w_.out_w; p < end; p += kPositions, out += kPositions * w_.out_c) {
      const int64_t count = std::min(kPositions, end - p);
      lines_.gather(lines, p, count, patches, patch_stride_);
      multiply_plain(frame, patches, patch_stride_, count, out);
    }
  }

  // `count` positions from `position` on times columns [first, last).
  void multiply_in_place(const int8_t* input, int64_t position, int64_t count, int64_t first, int64_t last, int8_t* output) const {
    static constexpr int64_t kNoOffset = 0;
    const CodeRows rows{input + position * depth_, count, depth_, &kNoOffset, 1, depth_};
    const uint8_t* packed = packed_.data() + fused_->packed_bytes(first, 1, depth_);
    fused_->matmul(rows, packed, last - first, requantizer_.view(), output + position * w_.out_c + first, w_.out_c);
  }

  void multiply_plain(const Frame& frame, const int8_t* a, int64_t stride, int64_t count, int8_t* out) const {
    int32_t* acc = reinterpret_cast<int32_t*>(frame.scratch + accumulator_offset_);
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
  PaddedLines lines_;  // of all windows but 1×1 ones
  const FusedInt8Kernels* fused_ = nullptr;
  int64_t depth_ = 0, positions_ = 0;
  int64_t patch_stride_ = 0, patch_offset_ = 0, accumulator_stride_ = 0,
          accumulator_offset_ = 0;  // of the plain kernels, in scratch memory
  int32_t input_zero_point_ = 0, weight_zero_point_ = 0;
  bool direct_ = false, by_columns_ = false;
  Requantizer requantizer_;
  AlignedBuffer packed_;
};

}  // namespace

std::unique_ptr<Operation> make_conv2d(const OperatorView& op, const Kernels& kernels) { return std::make_unique<Conv2d>(op, kernels); }

}  // namespace pcqat::integer
