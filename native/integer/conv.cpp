// CONV_2D: patches of the input times the packed weights.
#include <algorithm>
#include <cstring>

#include "integer/requantize.h"
#include "integer/window.h"

namespace pcqat::integer {

namespace {

// Output positions whose patches and accumulators are held at once.
constexpr int64_t kPositions = 48;
// Bytes that patches are copied in; at most what kernels may read beyond the end of an activation.
constexpr int64_t kCopied = 16;
static_assert(kCopied <= kInt8Overread, "copies of patches run over the end of activations");

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
    patch_stride_ = (depth_ + 3) / 4 * 4;
    accumulator_stride_ = padded(w_.out_c);
    accumulator_bytes_ = fused_ == nullptr ? kPositions * accumulator_stride_ * 4 : 0;
    if (!direct_) {
      patch_bytes_ = kPositions * patch_stride_ + kCopied;
      line_bytes_ = scratch_product(op, padded_extent(w_.out_w, w_.stride_w, w_.kernel_w, w_.dilation_w), w_.in_c);
      scratch_bytes = patch_bytes_ + scratch_product(op, padded_rows(w_.out_h), line_bytes_) + kCopied;
    }
    scratch_bytes += accumulator_bytes_;
    work = w_.out_h * w_.out_w * w_.out_c * depth_;
    rows = w_.out_h;
  }

  void run_rows(const Frame& frame, int64_t first, int64_t last) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* output = frame.value<int8_t>(output_);
    int8_t* patches = reinterpret_cast<int8_t*>(frame.scratch) + accumulator_bytes_;
    int8_t* lines = patches + patch_bytes_;
    if (!direct_) pad(input, first, last, lines);
    for (int64_t p = first * w_.out_w; p < last * w_.out_w; p += kPositions) {
      const int64_t count = std::min(kPositions, last * w_.out_w - p);
      int8_t* out = output + p * w_.out_c;
      if (direct_) {
        multiply(frame, input + p * w_.in_c, w_.in_c, count, out);
        continue;
      }
      gather(lines, p - first * w_.out_w, count, patches);
      multiply(frame, patches, patch_stride_, count, out);
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
    if (kernels_.fused != nullptr && weight_zero_point_ == 0) packed_ = pack_fused(op, weights, bias);
    if (fused_ == nullptr) packed_ = pack_weights(op, kernels_, weights, bias, w_.out_c, depth_);
    constant_bytes = packed_.size();
  }

  std::vector<uint8_t> pack_fused(const OperatorView& op, const std::vector<int8_t>& weights, const std::vector<int32_t>& bias) {
    std::vector<uint8_t> packed(packable_bytes(op, kernels_.fused->packed_bytes(w_.out_c, depth_)));
    if (kernels_.fused->pack(weights.data(), bias.data(), w_.out_c, depth_, requantizer_.view(), packed.data())) fused_ = kernels_.fused;
    return packed;
  }

  // Dilations of small inputs can reach arbitrarily far.
  static int64_t scratch_product(const OperatorView& op, int64_t count, int64_t bytes) {
    if (count > kMaxProgramBytes / bytes) op.unsupported("a window that reaches this far beyond the input");
    return count * bytes;
  }

  static int64_t padded_extent(int64_t out, int64_t stride, int64_t kernel, int64_t dilation) {
    return (out - 1) * stride + (kernel - 1) * dilation + 1;
  }
  int64_t padded_rows(int64_t rows) const { return rows < 1 ? 0 : padded_extent(rows, w_.stride_h, w_.kernel_h, w_.dilation_h); }

  // The rows of the input that outputs [first, last) see, with the zero point, i.e. 0, around them, so that no tap needs a check.
  void pad(const int8_t* input, int64_t first, int64_t last, int8_t* lines) const {
    const int64_t start = w_.row(first, 0), width = line_bytes_ / w_.in_c;
    const int64_t taken = std::min(w_.in_w, width - w_.pad_left);
    for (int64_t r = start; r < start + padded_rows(last - first); ++r, lines += line_bytes_) {
      const bool inside = r >= 0 && r < w_.in_h && taken > 0;
      const int64_t before = inside ? w_.pad_left * w_.in_c : line_bytes_, middle = inside ? taken * w_.in_c : 0;
      std::memset(lines, input_zero_point_, before);
      if (middle > 0) std::memcpy(lines + before, input + r * w_.in_w * w_.in_c, middle);
      std::memset(lines + before + middle, input_zero_point_, line_bytes_ - before - middle);
    }
  }

  // Copies of at least `bytes` bytes: what is too much is overwritten by the next.
  static void copy(int8_t* to, const int8_t* from, int64_t bytes) {
    std::memcpy(to, from, kCopied);
    for (int64_t i = kCopied; i < bytes; i += kCopied) std::memcpy(to + i, from + i, kCopied);
  }

  // The patches of `count` positions from `position` on, counted from the first line.
  void gather(const int8_t* lines, int64_t position, int64_t count, int8_t* patches) const {
    const int64_t row_step = w_.dilation_h * line_bytes_, column_step = w_.dilation_w * w_.in_c;
    const int64_t joined = w_.dilation_w == 1 ? w_.kernel_w : 1;  // neighbouring taps are copied as one
    const int64_t bytes = joined * w_.in_c;
    const bool is_one_piece = joined == w_.kernel_w && bytes <= kCopied;
    int64_t y = position / w_.out_w, x = position % w_.out_w;
    const auto corner_of = [&] { return lines + y * w_.stride_h * line_bytes_ + x * w_.stride_w * w_.in_c; };
    const int8_t* corner = corner_of();
    for (int64_t i = 0; i < count; ++i, patches += patch_stride_) {
      int8_t* patch = patches;
      const int8_t* row = corner;
      if (is_one_piece) {  // of the first layer, where nothing else would be left to do but to count
        for (int64_t ky = 0; ky < w_.kernel_h; ++ky, row += row_step, patch += bytes) std::memcpy(patch, row, kCopied);
      } else {
        for (int64_t ky = 0; ky < w_.kernel_h; ++ky, row += row_step) {
          for (int64_t kx = 0; kx < w_.kernel_w; kx += joined, patch += bytes) copy(patch, row + kx * column_step, bytes);
        }
      }
      corner += w_.stride_w * w_.in_c;
      if (++x == w_.out_w) {
        x = 0, ++y;
        corner = corner_of();
      }
    }
  }

  void multiply(const Frame& frame, const int8_t* a, int64_t stride, int64_t count, int8_t* out) const {
    if (fused_ != nullptr) {
      fused_->matmul(a, count, stride, packed_.data(), w_.out_c, depth_, requantizer_.view(), out, w_.out_c);
      return;
    }
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
  const FusedInt8Kernels* fused_ = nullptr;
  int64_t depth_ = 0, patch_stride_ = 0, accumulator_stride_ = 0;
  int64_t accumulator_bytes_ = 0, patch_bytes_ = 0, line_bytes_ = 0;  // of scratch memory, and of one padded row of the input in it
  int32_t input_zero_point_ = 0, weight_zero_point_ = 0;
  bool direct_ = false;
  Requantizer requantizer_;
  std::vector<uint8_t> packed_;
};

}  // namespace

std::unique_ptr<Operation> make_conv2d(const OperatorView& op, const Kernels& kernels) { return std::make_unique<Conv2d>(op, kernels); }

}  // namespace pcqat::integer
