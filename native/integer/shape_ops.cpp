// PAD, RESHAPE (also SQUEEZE) and CONCATENATION: they move values and never change them.
#include <cstring>

#include "integer/requantize.h"

namespace pcqat::integer {

namespace {

void require_same_type(const OperatorView& op, size_t i = 0) {
  const Tensor &input = op.input(i), &output = op.output();
  if (input.dtype != output.dtype) op.unsupported("an output of another type than the input");
  if (input.scale != output.scale || input.zero_point != output.zero_point) {
    op.unsupported("an output with other quantization parameters than the input");
  }
}

class Reshape final : public Operation {
 public:
  explicit Reshape(const OperatorView& op) : input_(op.input_id(0)), output_(op.output_id()) {
    require_same_type(op);
    op.require(op.input(0).elements == op.output().elements, "input and output differ in size");
    bytes_ = op.output().elements * size_of(op.output().dtype);
    work = bytes_;
  }

  void run(const Frame& frame) const override { std::memcpy(frame.value<uint8_t>(output_), frame.value<uint8_t>(input_), bytes_); }

 private:
  const int64_t input_, output_;
  int64_t bytes_ = 0;
};

class Pad final : public Operation {
 public:
  explicit Pad(const OperatorView& op) : input_(op.input_id(0)), output_(op.output_id()) {
    require_same_type(op);
    const Tensor &input = op.input(0), &output = op.output(), &paddings = op.constant(1, DType::int32);
    const size_t rank = input.shape.size();
    if (rank == 0 || rank > kRank) op.unsupported("a rank other than 1 to 4");
    op.require(output.shape.size() == rank && paddings.elements == static_cast<int64_t>(2 * rank), "paddings do not fit the input's rank");
    fill_ = static_cast<int8_t>(op.zero_point(output));
    const size_t first = kRank - rank;  // shorter shapes get leading ones
    for (size_t i = 0; i < rank; ++i) {
      int32_t around[2];
      std::memcpy(around, paddings.data.data() + 8 * i, 8);
      op.require(around[0] >= 0 && around[1] >= 0 && output.shape[i] == input.shape[i] + around[0] + around[1],
                 "the output's shape does not follow from the input's");
      before_[first + i] = around[0];
      in_[first + i] = input.shape[i];
      out_[first + i] = output.shape[i];
    }
    elements_ = output.elements;
    work = elements_;
  }

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* out = frame.value<int8_t>(output_);
    std::memset(out, fill_, elements_);
    for (int64_t n = 0; n < in_[0]; ++n) {
      for (int64_t y = 0; y < in_[1]; ++y) {
        for (int64_t x = 0; x < in_[2]; ++x, input += in_[3]) {
          const int64_t position = ((n + before_[0]) * out_[1] + y + before_[1]) * out_[2] + x + before_[2];
          std::memcpy(out + position * out_[3] + before_[3], input, in_[3]);
        }
      }
    }
  }

 private:
  static constexpr size_t kRank = 4;
  const int64_t input_, output_;
  int64_t in_[kRank] = {1, 1, 1, 1}, out_[kRank] = {1, 1, 1, 1}, before_[kRank] = {};
  int64_t elements_ = 0;
  int8_t fill_ = 0;
};

class Concatenation final : public Operation {
 public:
  explicit Concatenation(const OperatorView& op) : output_(op.output_id()) {
    const Tensor& output = op.output();
    const int64_t rank = static_cast<int64_t>(output.shape.size());
    const int64_t option = op.integer("axis", 0, -rank, rank - 1), axis = option < 0 ? option + rank : option;
    if (op.text("fusedActivationFunction", "NONE") != "NONE") op.unsupported("a fused activation");
    int64_t inner = size_of(output.dtype), sum = 0;  // bytes behind the axis
    for (int64_t d = axis + 1; d < rank; ++d) inner *= output.shape[d];
    for (size_t i = 0; i < op.input_count(); ++i) {
      const Tensor& input = op.input(i);
      if (input.constant) op.unsupported("a constant operand");
      require_same_type(op, i);
      bool fits = input.shape.size() == output.shape.size();
      for (int64_t d = 0; fits && d < rank; ++d) fits = d == axis || input.shape[d] == output.shape[d];
      op.require(fits, "the inputs' shapes do not fit the output's");
      sum += input.shape[axis];
      parts_.push_back({op.input_id(i), input.shape[axis] * inner});
    }
    op.require(sum == output.shape[axis], "the output's shape does not follow from the inputs'");
    row_ = sum * inner;
    rows_ = output.elements * size_of(output.dtype) / row_;
    work = output.elements;
  }

  void run(const Frame& frame) const override {
    int64_t offset = 0;
    for (const Part& part : parts_) {
      const uint8_t* from = frame.value<uint8_t>(part.tensor);
      uint8_t* to = frame.value<uint8_t>(output_) + offset;
      for (int64_t r = 0; r < rows_; ++r, from += part.bytes, to += row_) std::memcpy(to, from, part.bytes);
      offset += part.bytes;
    }
  }

 private:
  struct Part {
    int64_t tensor, bytes;  // bytes in one row
  };

  const int64_t output_;
  std::vector<Part> parts_;
  int64_t row_ = 0, rows_ = 0;
};

}  // namespace

std::unique_ptr<Operation> make_concatenation(const OperatorView& op, const Kernels&) { return std::make_unique<Concatenation>(op); }
std::unique_ptr<Operation> make_reshape(const OperatorView& op, const Kernels&) { return std::make_unique<Reshape>(op); }
std::unique_ptr<Operation> make_pad(const OperatorView& op, const Kernels&) { return std::make_unique<Pad>(op); }

}  // namespace pcqat::integer
