// RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR of an NHWC tensor with batch 1, with the index arithmetic of TFLite's kernels.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "integer/requantize.h"

namespace pcqat::integer {

namespace {

// Where one output row or column comes from: two input positions and, for bilinear, the weight of the second in 1/1024.
struct Source {
  int64_t first = 0, second = 0;
  int64_t weight = 0;
};

struct Options {
  bool align_corners, half_pixel_centers;
};

Source nearest(int64_t out, int64_t in_size, int64_t out_size, Options options) {
  const bool align = options.align_corners;
  const float scale = align && out_size > 1 ? static_cast<float>(in_size - 1) / static_cast<float>(out_size - 1)
                                            : static_cast<float>(in_size) / static_cast<float>(out_size);
  const float position = (static_cast<float>(out) + (options.half_pixel_centers ? 0.5f : 0.0f)) * scale;
  const int64_t index = static_cast<int64_t>(align ? std::round(position) : std::floor(position));
  return {std::clamp<int64_t>(index, 0, in_size - 1)};
}

Source bilinear(int64_t out, int64_t in_size, int64_t out_size, Options options) {
  constexpr int64_t kOne = 1 << 10;
  const bool align = options.align_corners && out_size > 1;
  const int64_t from = align ? in_size - 1 : in_size, to = align ? out_size - 1 : out_size;
  const int64_t scale = (kOne * from + to / 2) / to;
  const int64_t position = out * scale + (options.half_pixel_centers ? scale / 2 - kOne / 2 : 0);
  // The rounded scale can lead past the end of a long axis, where TFLite reads outside its input.
  const int64_t first = std::clamp<int64_t>(position / kOne, 0, in_size - 1);
  const int64_t second = std::clamp<int64_t>((position + kOne - 1) / kOne, 0, in_size - 1);
  return {first, second, position - kOne * first};
}

class Resize : public Operation {
 public:
  Resize(const OperatorView& op, Source (*source)(int64_t, int64_t, int64_t, Options)) : input_(op.input_id(0)), output_(op.output_id()) {
    const Tensor &input = op.input(0), &output = op.output();
    op.require(input.shape.size() == 4 && output.shape.size() == 4, "input and output must have rank 4");
    if (input.shape[0] != 1) op.unsupported("a batch dimension other than 1");
    op.require(op.zero_point(input) == op.zero_point(output) && input.scale[0] == output.scale[0] && input.dtype == output.dtype,
               "the output has other quantization parameters than the input");
    check_size(op);
    const Options options{op.boolean("alignCorners", false), op.boolean("halfPixelCenters", false)};
    op.require(!options.align_corners || !options.half_pixel_centers, "alignCorners and halfPixelCenters cannot both be set");
    in_w_ = input.shape[2], channels_ = input.shape[3];
    const int64_t out_h = output.shape[1], out_w = output.shape[2];
    constant_bytes = (out_h + out_w) * static_cast<int64_t>(sizeof(Source));
    if (constant_bytes > kMaxProgramBytes) op.unsupported("an output of this size");
    rows_.resize(out_h), columns_.resize(out_w);
    for (int64_t y = 0; y < out_h; ++y) rows_[y] = source(y, input.shape[1], out_h, options);
    for (int64_t x = 0; x < out_w; ++x) columns_[x] = source(x, in_w_, out_w, options);
    work = output.elements;
  }

 protected:
  const int8_t* pixel(const int8_t* input, int64_t row, int64_t column) const { return input + (row * in_w_ + column) * channels_; }

  const int64_t input_, output_;
  int64_t in_w_ = 0, channels_ = 0;
  std::vector<Source> rows_, columns_;

 private:
  static void check_size(const OperatorView& op) {
    const Tensor &input = op.input(0), &output = op.output(), &size = op.constant(1, DType::int32);
    op.require(size.elements == 2, "the size must be [height, width]");
    int32_t values[2];
    std::memcpy(values, size.data.data(), sizeof(values));
    op.require(output.shape[0] == 1 && output.shape[1] == values[0] && output.shape[2] == values[1] && output.shape[3] == input.shape[3],
               "the output's shape does not follow from the size and the input's shape");
  }
};

class ResizeNearest final : public Resize {
 public:
  explicit ResizeNearest(const OperatorView& op) : Resize(op, nearest) {}

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* out = frame.value<int8_t>(output_);
    for (const Source& row : rows_) {
      for (const Source& column : columns_) {
        std::memcpy(out, pixel(input, row.first, column.first), channels_);
        out += channels_;
      }
    }
  }
};

// Spec of the reference: products with 20 fractional bits, rounded half away from zero.
class ResizeBilinear final : public Resize {
 public:
  explicit ResizeBilinear(const OperatorView& op) : Resize(op, bilinear) {
    // TFLite computes uint8 in f32 and truncates.
    if (op.input(0).dtype != DType::int8) op.unsupported("bilinear resizing of uint8 values");
    work *= 4;
  }

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* out = frame.value<int8_t>(output_);
    for (const Source& row : rows_) {
      for (const Source& column : columns_) {
        const int8_t *a = pixel(input, row.first, column.first), *b = pixel(input, row.first, column.second);
        const int8_t *c = pixel(input, row.second, column.first), *d = pixel(input, row.second, column.second);
        const int64_t right = column.weight, left = 1024 - right, bottom = row.weight, top = 1024 - bottom;
        for (int64_t i = 0; i < channels_; ++i) {
          const int64_t sum = top * (left * a[i] + right * b[i]) + bottom * (left * c[i] + right * d[i]);
          out[i] = static_cast<int8_t>(clamp((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20), -128, 127));
        }
        out += channels_;
      }
    }
  }
};

}  // namespace

std::unique_ptr<Operation> make_resize_nearest(const OperatorView& op, const Kernels&) { return std::make_unique<ResizeNearest>(op); }
std::unique_ptr<Operation> make_resize_bilinear(const OperatorView& op, const Kernels&) { return std::make_unique<ResizeBilinear>(op); }

}  // namespace pcqat::integer
