// SOFTMAX over the last axis, as TFLite's default kernels compute it: a table of 256 exponentials, sums in f32. (Its "reference" kernel
// set has an older fixed-point form; the default one is what TFLite 2.9 and LiteRT run.)
#include <algorithm>
#include <cmath>

#include "integer/requantize.h"

namespace pcqat::integer {

namespace {

class Softmax final : public Operation {
 public:
  explicit Softmax(const OperatorView& op) : input_(op.input_id(0)), output_(op.output_id()), elements_(op.output().elements) {
    const Tensor &input = op.input(0), &output = op.output();
    op.require(input.shape == output.shape && !input.shape.empty(), "input and output differ in shape");
    op.require(input.dtype == output.dtype, "the output has another type than the input");
    depth_ = input.shape.back();
    op.zero_point(input);
    zero_point_ = op.zero_point(output);
    output_scale_ = output.scale[0];
    const double beta = op.number("beta", 1);
    op.require(std::isfinite(beta) && beta >= 0, "beta must be positive and finite");
    const float scale = -input.scale[0] * static_cast<float>(beta);
    // exp in double, rounded once: the same bits on every platform.
    for (int i = 0; i < 256; ++i) table_[i] = static_cast<float>(std::exp(static_cast<double>(scale * static_cast<float>(i))));
    work = elements_;
  }

  void run(const Frame& frame) const override {
    const int8_t* input = frame.value<int8_t>(input_);
    int8_t* out = frame.value<int8_t>(output_);
    for (int64_t start = 0; start < elements_; start += depth_, input += depth_, out += depth_) {
      const int32_t largest = *std::max_element(input, input + depth_);
      float sum = 0;
      for (int64_t i = 0; i < depth_; ++i) sum += table_[largest - input[i]];
      const float inverse = 1.0f / (sum * output_scale_);
      for (int64_t i = 0; i < depth_; ++i) {
        const float steps = std::min(std::round(table_[largest - input[i]] * inverse), 512.0f);
        out[i] = static_cast<int8_t>(clamp(static_cast<int32_t>(steps) + zero_point_, -128, 127));
      }
    }
  }

 private:
  const int64_t input_, output_, elements_;
  int64_t depth_ = 1;
  int32_t zero_point_ = 0;
  float output_scale_ = 1;
  float table_[256];  // exp(−scale · beta · i)
};

}  // namespace

std::unique_ptr<Operation> make_softmax(const OperatorView& op, const Kernels&) { return std::make_unique<Softmax>(op); }

}  // namespace pcqat::integer
