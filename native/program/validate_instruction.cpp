// The checks of one instruction: attributes, tensors, and the output shape they imply.
#include <cmath>

#include "error.h"
#include "program/geometry.h"
#include "program/validate.h"

namespace pcqat {
namespace {

// No stride, dilation, window or padding may be larger; keeps all products far from overflow.
constexpr int64_t kMaxAttribute = 1 << 16;

struct Check {
  const Program& program;
  const Instruction& in;
  const std::string where;
  const ValueSpec& x;
  const ValueSpec& y;

  const ValueSpec& second() const { return program.values[in.others[0]]; }
  [[noreturn]] void fail(const char* code, const std::string& message) const { throw Error(code, "The " + where + ": " + message); }

  const TensorSpec& tensor(int id, const char* role, const std::vector<int64_t>& shape) const {
    const std::string text = role + (" of " + where);
    const TensorSpec& spec = checked_tensor(program, id, text, DType::f32);
    check_shape(spec, shape, text);
    return spec;
  }
  const TensorSpec& state(int id, const char* role, const std::vector<int64_t>& shape) const {
    const TensorSpec& spec = tensor(id, role, shape);
    if (spec.trainable) fail("ERR_OPTION", "the " + std::string(role) + ", tensor '" + spec.name + "', is state and cannot be trainable.");
    return spec;
  }
  const TensorSpec& kernel(size_t rank) const {
    const std::string role = "kernel of " + where;
    const TensorSpec& spec = checked_tensor(program, in.kernel, role, DType::f32);
    if (spec.shape.size() != rank) {
      throw Error("ERR_SHAPE", "The " + role + ", tensor '" + spec.name + "', must have rank " + std::to_string(rank) +
                                   ", but has the shape " + shape_text(spec.shape) + ".");
    }
    return spec;
  }
  void bias(int64_t channels) const {
    if (in.bias != kNone) tensor(in.bias, "bias", {channels});
  }
  void input_rank(size_t rank, const char* layout) const {
    if (x.shape.size() != rank)
      fail("ERR_SHAPE", "the input '" + x.name + "' must have the shape " + layout + ", but has " + shape_text(x.shape) + ".");
  }
  void output(const std::vector<int64_t>& expected) const {
    if (y.shape == expected) return;
    fail("ERR_SHAPE", "the output '" + y.name + "' must have the shape " + shape_text(expected) + ", but has " + shape_text(y.shape) + ".");
  }
  template <typename Range>
  void at_least(const Range& values, int64_t low, const char* field) const {
    for (int64_t v : values) {
      if (v < low || v > kMaxAttribute) {
        fail("ERR_OPTION", std::string(field) + " must be between " + std::to_string(low) + " and " + std::to_string(kMaxAttribute) +
                               ", but is " + std::to_string(v) + ".");
      }
    }
  }
  // Output height and width of a window that slides over an image; its padding stays inside the window.
  std::array<int64_t, 2> windows(const ValueSpec& image, int64_t window_h, int64_t window_w) const {
    at_least(in.strides, 1, "strides");
    at_least(in.dilation, 1, "dilation");
    at_least(in.padding, 0, "padding");
    at_least(std::array<int64_t, 2>{window_h, window_w}, 1, "the window");
    const int64_t extent_h = (window_h - 1) * in.dilation[0] + 1, extent_w = (window_w - 1) * in.dilation[1] + 1;
    const auto& p = in.padding;
    if (p[0] >= extent_h || p[1] >= extent_h || p[2] >= extent_w || p[3] >= extent_w) {
      fail("ERR_OPTION",
           "padding must be smaller than the (dilated) window of " + std::to_string(extent_h) + " x " + std::to_string(extent_w) + ".");
    }
    const int64_t h = window_count(image.shape[0], p[0], p[1], window_h, in.dilation[0], in.strides[0]);
    const int64_t w = window_count(image.shape[1], p[2], p[3], window_w, in.dilation[1], in.strides[1]);
    if (h < 1 || w < 1) fail("ERR_SHAPE", "the window does not fit into the padded image of shape " + shape_text(image.shape) + ".");
    return {h, w};
  }
  void fake_quant(bool required) const {
    const FakeQuantSpec& q = in.fake_quant;
    if (q.min == kNone && q.max == kNone && !required) return;
    state(q.min, "fakeQuant.min", {1});
    state(q.max, "fakeQuant.max", {1});
    if (q.bits < 2 || q.bits > 8) fail("ERR_OPTION", "fakeQuant.bits must be 2 to 8, but is " + std::to_string(q.bits) + ".");
    if (!(q.decay >= 0 && q.decay <= 1)) fail("ERR_OPTION", "fakeQuant.decay must be in [0, 1].");
  }
};

void check_conv(const Check& c) {
  c.input_rank(3, "[height, width, channels]");
  const auto& kernel = c.kernel(4);
  const bool depthwise = c.in.op == Op::depthwise_conv2d;
  if (kernel.shape[2] != c.x.shape[2]) {
    c.fail("ERR_SHAPE", "the kernel '" + kernel.name + "' of shape " + shape_text(kernel.shape) + " does not fit the " +
                            std::to_string(c.x.shape[2]) + " channels of the input '" + c.x.name + "'.");
  }
  // Both factors are below 2^31 (checked element counts), so the product cannot overflow.
  const int64_t channels = depthwise ? kernel.shape[2] * kernel.shape[3] : kernel.shape[3];
  const auto [h, w] = c.windows(c.x, kernel.shape[0], kernel.shape[1]);
  c.output({h, w, channels});
  c.bias(channels);
}

// The output's size is given; the convolution from there must lead back to the input's.
void check_conv_transpose(const Check& c) {
  c.input_rank(3, "[height, width, channels]");
  const auto& kernel = c.kernel(4);
  if (kernel.shape[3] != c.x.shape[2]) {
    c.fail("ERR_SHAPE", "the kernel '" + kernel.name + "' of shape " + shape_text(kernel.shape) + " does not fit the " +
                            std::to_string(c.x.shape[2]) + " channels of the input '" + c.x.name + "'.");
  }
  if (c.y.shape.size() != 3 || c.y.shape[2] != kernel.shape[2]) {
    c.fail("ERR_SHAPE", "the output '" + c.y.name + "' must have the shape [height, width, " + std::to_string(kernel.shape[2]) +
                            "], but has " + shape_text(c.y.shape) + ".");
  }
  const auto [h, w] = c.windows(c.y, kernel.shape[0], kernel.shape[1]);
  if (h != c.x.shape[0] || w != c.x.shape[1]) {
    c.fail("ERR_SHAPE", "a convolution of the output " + shape_text(c.y.shape) + " gives " + shape_text({h, w}) +
                            " pixels, but the input '" + c.x.name + "' has " + shape_text(c.x.shape) + ".");
  }
  c.bias(kernel.shape[2]);
}

void check_concat(const Check& c) {
  const std::vector<int64_t> front(c.x.shape.begin(), c.x.shape.end() - 1);
  if (c.in.others.empty()) c.fail("ERR_OPTION", "others must name at least one value.");
  std::vector<int64_t> whole = c.x.shape;
  for (int other : c.in.others) {
    const auto& shape = c.program.values[other].shape;
    if (std::vector<int64_t>(shape.begin(), shape.end() - 1) != front) {
      c.fail("ERR_SHAPE",
             "the operands differ in more than their last dimension: " + shape_text(c.x.shape) + " and " + shape_text(shape) + ".");
    }
    whole.back() += shape.back();
  }
  c.output(whole);
}

void check_pool(const Check& c) {
  c.input_rank(3, "[height, width, channels]");
  const auto [h, w] = c.windows(c.x, c.in.pool[0], c.in.pool[1]);
  c.output({h, w, c.x.shape[2]});
}

void check_batch_norm(const Check& c) {
  const std::vector<int64_t> channels{c.x.shape.back()};
  c.tensor(c.in.gamma, "gamma", channels);
  c.tensor(c.in.beta, "beta", channels);
  c.state(c.in.moving_mean, "movingMean", channels);
  c.state(c.in.moving_variance, "movingVariance", channels);
  if (!(c.in.momentum >= 0 && c.in.momentum <= 1)) c.fail("ERR_OPTION", "momentum must be in [0, 1].");
  if (!(c.in.epsilon > 0 && c.in.epsilon <= 1)) c.fail("ERR_OPTION", "epsilon must be in (0, 1].");
  c.output(c.x.shape);
}

void check_requantize(const Check& c) {
  const int64_t channels = c.x.shape.back();
  for (const Accumulators* a : {&c.in.requantization.accumulators, &c.in.requantization.negative}) {
    for (const size_t size : {a->scale.size(), a->offset.size(), a->multiplier.size()}) {
      if (size <= 1 || static_cast<int64_t>(size) == channels) continue;
      c.fail("ERR_SHAPE", "accumulators need 1 element or one for each of the " + std::to_string(channels) + " channels, but have " +
                              std::to_string(size) + ".");
    }
  }
  if (!c.in.others.empty() && c.second().shape != c.x.shape) {
    c.fail("ERR_SHAPE", "the operands have different shapes, " + shape_text(c.x.shape) + " and " + shape_text(c.second().shape) + ".");
  }
  c.output(c.x.shape);
}

}  // namespace

void validate_instruction(const Program& program, size_t index) {
  const Instruction& in = program.instructions[index];
  const Check c{program, in, instruction_text(program, index), program.values[in.input], program.values[in.output]};
  switch (in.op) {
    case Op::conv2d:
    case Op::depthwise_conv2d: check_conv(c); break;
    case Op::conv2d_transpose: check_conv_transpose(c); break;
    case Op::dense: {
      c.input_rank(1, "[features]");
      const auto& kernel = c.kernel(2);
      if (kernel.shape[0] != c.x.shape[0]) {
        c.fail("ERR_SHAPE", "the kernel '" + kernel.name + "' of shape " + shape_text(kernel.shape) + " does not fit the input '" +
                                c.x.name + "' of shape " + shape_text(c.x.shape) + ".");
      }
      c.output({kernel.shape[1]});
      c.bias(kernel.shape[1]);
      break;
    }
    case Op::batch_norm: check_batch_norm(c); break;
    case Op::add:
      if (c.second().shape != c.x.shape) {
        c.fail("ERR_SHAPE", "the operands have different shapes, " + shape_text(c.x.shape) + " and " + shape_text(c.second().shape) + ".");
      }
      c.output(c.x.shape);
      break;
    case Op::multiply:
      if (c.second().shape != c.x.shape && !(c.second().shape.back() == c.x.shape.back() && c.second().count == c.x.shape.back())) {
        c.fail("ERR_SHAPE", "the operands must have the same shape, or the second one value per channel, but they have " +
                                shape_text(c.x.shape) + " and " + shape_text(c.second().shape) + ".");
      }
      c.output(c.x.shape);
      break;
    case Op::concat: check_concat(c); break;
    case Op::unary:
      if (!(in.unary.alpha >= 0 && std::isfinite(in.unary.alpha))) c.fail("ERR_OPTION", "alpha must be at least 0.");
      c.output(c.x.shape);
      break;
    case Op::upsample:
      c.input_rank(3, "[height, width, channels]");
      c.at_least(in.factors, 1, "size");
      c.output({c.x.shape[0] * in.factors[0], c.x.shape[1] * in.factors[1], c.x.shape[2]});
      break;
    case Op::average_pool:
    case Op::max_pool: check_pool(c); break;
    case Op::global_average_pool:
      c.input_rank(3, "[height, width, channels]");
      c.output({c.x.shape[2]});
      break;
    case Op::pad: {
      c.input_rank(3, "[height, width, channels]");
      c.at_least(in.padding, 0, "padding");
      const auto& p = in.padding;
      c.output({c.x.shape[0] + p[0] + p[1], c.x.shape[1] + p[2] + p[3], c.x.shape[2]});
      break;
    }
    case Op::reshape:
      if (c.x.count != c.y.count) {
        c.fail("ERR_SHAPE", "cannot reshape " + shape_text(c.x.shape) + " to " + shape_text(c.y.shape) + ": the element counts differ.");
      }
      break;
    case Op::dropout:
      if (!(in.rate >= 0 && in.rate < 1)) c.fail("ERR_OPTION", "rate must be in [0, 1).");
      c.output(c.x.shape);
      break;
    case Op::requantize: check_requantize(c); break;
    case Op::activation:
    case Op::fake_quant:
    case Op::softmax: c.output(c.x.shape); break;
  }
  c.fake_quant(in.op == Op::fake_quant);
}

}  // namespace pcqat
