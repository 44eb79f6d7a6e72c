// Running the instructions backward. Gradients of values with several consumers, and of parameters with several users,
// are added in reverse program order.
#include <cstring>
#include <limits>

#include "ops/concat.h"
#include "ops/conv.h"
#include "ops/conv_transpose.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/multiply.h"
#include "ops/norm.h"
#include "ops/pool.h"
#include "ops/unary.h"
#include "ops/upsample.h"
#include "program/geometry.h"
#include "program/session.h"

namespace pcqat {

// Of a gradient of a kernel.
static constexpr double kUnknown = std::numeric_limits<double>::infinity();

void Session::run_backward(int64_t step) {
  for (size_t i = program_.instructions.size(); i-- > 0;) {
    if (plan_.backward[i].active) backward_instruction(i, step);
  }
}

// Calls write(d) where the gradient of an operand belongs, and adds it when other consumers came before.
template <typename Write>
void Session::give_gradient(size_t index, size_t operand_index, Write&& write) {
  const BackwardPlan& plan = plan_.backward[index];
  const OperandPlan& target = plan.operands[operand_index];
  if (!target.wanted) return;
  const int value = operand(program_.instructions[index], operand_index);
  if (!target.adds) return write(value_gradient(value));
  float* temporary = arena_f32(plan.temporary);
  write(temporary);
  accumulate(value_count(value), temporary, value_gradient(value), context());
}

// Calls write(d_first, d_second) for two parameters of a layer (second may be kNone, its pointer then null).
// Gradients that nobody keeps, or that are added to those of another user, go to scratch memory first.
template <typename Write>
void Session::give_parameter_gradients(int first, int second, Write&& write) {
  const int ids[2] = {first, second};
  float* targets[2] = {nullptr, nullptr};
  bool wanted = false;
  for (int i = 0; i < 2; ++i) {
    if (ids[i] == kNone) continue;
    const TensorMemory& tensor = tensors_[ids[i]];
    wanted = wanted || tensor.gradient != nullptr;
    targets[i] = tensor.gradient != nullptr && !tensor.gradient_written ? tensor.gradient : arena_f32(scratch_[i]);
  }
  if (!wanted) return;
  write(targets[0], targets[1]);
  for (int i = 0; i < 2; ++i) {
    if (ids[i] == kNone || tensors_[ids[i]].gradient == nullptr) continue;
    TensorMemory& tensor = tensors_[ids[i]];
    if (tensor.gradient_written) accumulate(program_.tensors[ids[i]].count, targets[i], tensor.gradient, context());
    tensor.gradient_written = true;
  }
}

void Session::backward_instruction(size_t index, int64_t step) {
  const Instruction& in = program_.instructions[index];
  const Context c = context();
  const float* x = value_data(in.input);
  const float* y = value_data(in.output);
  float* dy = value_gradient(in.output);
  const int64_t count = value_count(in.output);
  const NudgedRange* range = in.fake_quant.min == kNone ? nullptr : &ranges_[index];
  switch (in.op) {
    case Op::conv2d:
    case Op::depthwise_conv2d:
    case Op::conv2d_transpose:
    case Op::dense:
      if (in.activation != Activation::none) activation_backward_from_output(count, y, in.activation, dy, dy, c);
      backward_layer(index, x, dy);
      break;
    case Op::batch_norm: backward_batch_norm(index, dy); break;
    case Op::activation:
    case Op::fake_quant:
      give_input_gradient(index, [&](float* dx) { activation_backward(count, x, in.activation, range, dy, dx, c); });
      break;
    case Op::unary: give_input_gradient(index, [&](float* dx) { unary_backward(count, in.unary, x, range, dy, dx, c); }); break;
    case Op::add: backward_add(index, dy); break;
    case Op::multiply: backward_multiply(index, dy); break;
    case Op::concat: backward_concat(index, dy); break;
    case Op::upsample:
      give_input_gradient(index, [&](float* dx) { upsample_backward(upsample_geometry(program_, in), rows_, dy, dx, c); });
      break;
    case Op::average_pool:
      give_input_gradient(index, [&](float* dx) { average_pool_backward(pool_geometry(program_, in), rows_, dy, dx, c); });
      break;
    case Op::max_pool:
      give_input_gradient(index, [&](float* dx) { max_pool_backward(pool_geometry(program_, in), rows_, x, dy, dx, c); });
      break;
    case Op::global_average_pool: {
      const auto& shape = program_.values[in.input].shape;
      NormSums* const sums = sums_before(index);
      give_input_gradient(index, [&](float* dx) { global_average_pool_backward(rows_, shape[0] * shape[1], shape[2], dy, dx, sums, c); });
      break;
    }
    case Op::pad: give_input_gradient(index, [&](float* dx) { pad_backward(pad_geometry(program_, in), rows_, dy, dx, c); }); break;
    case Op::reshape: break;     // shares the gradient of its input
    case Op::requantize: break;  // refused by the constructor
    case Op::dropout:
      give_input_gradient(index, [&](float* dx) { dropout(count, static_cast<float>(in.rate), dropout_key(index, step), dy, dx, c); });
      break;
    case Op::softmax: {
      const int64_t classes = program_.values[in.output].shape.back();
      give_input_gradient(index, [&](float* dx) { softmax_backward(count / classes, classes, y, dy, dx, c); });
      break;
    }
  }
}

void Session::backward_layer(size_t index, const float* x, const float* dy) {
  const Instruction& in = program_.instructions[index];
  const Context c = context();
  const float* kernel = kernel_data(in);
  TensorMemory& tensor = tensors_[in.kernel];
  if (in.op == Op::dense) {
    const int64_t features = program_.values[in.input].count, units = program_.values[in.output].count;
    tensor.gradient_bound +=
        may_take_one_pass(tensor) ? kernel_gradient_bound(features * units, rows_ * features, x, rows_ * units, dy, c) : kUnknown;
    give_parameter_gradients(in.kernel, in.bias, [&](float* d_kernel, float* d_bias) {
      dense_backward_kernel(rows_, features, units, x, dy, d_kernel, d_bias, c);
    });
    give_input_gradient(index, [&](float* dx) { dense_backward_input(rows_, features, units, dy, kernel, dx, c); });
    return;
  }
  if (in.op == Op::conv2d_transpose) {
    tensor.gradient_bound += kUnknown;
    const ConvGeometry g = transposed_geometry(program_, in);
    give_parameter_gradients(in.kernel, in.bias,
                             [&](float* d_kernel, float* d_bias) { conv_transpose_backward_kernel(g, rows_, x, dy, d_kernel, d_bias, c); });
    give_input_gradient(index, [&](float* dx) { conv_transpose_backward_input(g, rows_, dy, kernel, dx, c); });
    return;
  }
  backward_conv(index, kernel);
}

void Session::backward_conv(size_t index, const float* kernel) {
  const Instruction& in = program_.instructions[index];
  const ConvGeometry g = conv_geometry(program_, in);
  float* dy = value_gradient(in.output);
  const OutputGradient gradient{dy, delayed_[index].x == nullptr ? nullptr : &delayed_[index], dy};
  const int settled = plan_.settled_buffer[index];
  const LayerInput x = layer_input(index, settled == kNone ? nullptr : arena_f32(settled));
  const bool wanted = plan_.backward[index].input().wanted;
  ConvGradients targets;
  targets.sums = sums_before(index);
  double bound = kUnknown;
  if (may_take_one_pass(tensors_[in.kernel])) targets.kernel_bound = &bound;
  const auto run = [&] {
    if (in.op == Op::depthwise_conv2d)
      depthwise_backward(g, rows_, x, kernel, gradient, targets, context());
    else
      conv2d_backward(g, rows_, x, kernel, gradient, targets, options_.bf16_gradients, context());
  };
  const auto with_parameters = [&] {
    const bool any = tensors_[in.kernel].gradient != nullptr || (in.bias != kNone && tensors_[in.bias].gradient != nullptr);
    if (!any) return run();
    give_parameter_gradients(in.kernel, in.bias, [&](float* d_kernel, float* d_bias) {
      targets.d_kernel = d_kernel;
      targets.d_bias = d_bias;
      run();
    });
  };
  if (!wanted) {
    with_parameters();
  } else {
    give_input_gradient(index, [&](float* dx) {
      targets.dx = dx;
      with_parameters();
    });
  }
  tensors_[in.kernel].gradient_bound += bound;
}

NormSums* Session::sums_before(size_t index) {
  const int norm = plan_.norm_of[index];
  // At once, so that nobody else takes sums in between.
  if (!plan_.backward[index].input().wanted || norm == kNone || norm != static_cast<int>(index) - 1) return nullptr;
  sums_ = norm_sums_of(norm, statistics_.sum, statistics_.squares);
  sums_of_ = norm;
  return &sums_;
}

NormSums Session::norm_sums_of(size_t index, double* gradient, double* product) const {
  const Instruction& in = program_.instructions[index];
  const NudgedRange* range = in.fake_quant.min == kNone ? nullptr : &ranges_[index];
  return norm_sums(norm_outputs_[index], in.activation, range, arena_f32(saved_statistics_[index]), gradient, product);
}

void Session::backward_batch_norm(size_t index, const float* dy) {
  const Instruction& in = program_.instructions[index];
  const int64_t count = value_count(in.input) / program_.tensors[in.gamma].count;
  const NormSums sums = sums_of_ == static_cast<int>(index) ? sums_ : norm_sums_of(index, nullptr, nullptr);
  sums_of_ = kNone;
  NormGradient gradient;
  const auto run = [&](float* d_gamma, float* d_beta) {
    gradient = batch_norm_backward(sums, count, arena_f32(saved_statistics_[index]), dy, d_gamma, d_beta, context());
  };
  // One pass gives both; those that are not wanted go to scratch memory.
  if (tensors_[in.gamma].gradient == nullptr && tensors_[in.beta].gradient == nullptr)
    run(arena_f32(scratch_[0]), arena_f32(scratch_[1]));
  else
    give_parameter_gradients(in.gamma, in.beta, run);
  const int producer = plan_.backward[index].delays_to;
  if (producer != kNone)
    delayed_[producer] = gradient;
  else
    give_input_gradient(index, [&](float* dx) { norm_gradient_all(gradient, count, dy, dx, context()); });
}

// Both operands get the same gradient d: computed where the first of them keeps it, then copied or added.
void Session::backward_add(size_t index, const float* dy) {
  const Instruction& in = program_.instructions[index];
  const BackwardPlan& plan = plan_.backward[index];
  const int64_t count = value_count(in.output);
  const NudgedRange* range = in.fake_quant.min == kNone ? nullptr : &ranges_[index];
  float* d = plan.temporary != kNone                     ? arena_f32(plan.temporary)
             : plan.input().wanted && !plan.input().adds ? value_gradient(in.input)
                                                         : value_gradient(in.others[0]);
  add_backward(count, value_data(in.input), value_data(in.others[0]), in.activation, range, dy, d, context());
  for (size_t o = 0; o < plan.operands.size(); ++o) {
    if (!plan.operands[o].wanted) continue;
    float* gradient = value_gradient(operand(in, o));
    if (plan.operands[o].adds)
      accumulate(count, d, gradient, context());
    else if (gradient != d)
      std::memcpy(gradient, d, count * sizeof(float));
  }
}

void Session::backward_multiply(size_t index, const float* dy) {
  const Instruction& in = program_.instructions[index];
  const ValueSpec &x = program_.values[in.input], &factor = program_.values[in.others[0]];
  const float *a = value_data(in.input), *b = value_data(in.others[0]);
  const Context c = context();
  if (factor.count == x.count) {
    give_gradient(index, 0, [&](float* d) { multiply(value_count(in.input), dy, b, d, c); });
    give_gradient(index, 1, [&](float* d) { multiply(value_count(in.input), dy, a, d, c); });
    return;
  }
  const int64_t pixels = x.count / factor.count;
  give_gradient(index, 0, [&](float* d) { channel_product(rows_, pixels, factor.count, dy, b, d, c); });
  give_gradient(index, 1, [&](float* d) { channel_product_backward_factor(rows_, pixels, factor.count, a, dy, d, c); });
}

void Session::backward_concat(size_t index, const float* dy) {
  const Instruction& in = program_.instructions[index];
  const int64_t channels = program_.values[in.output].shape.back(), pixels = value_count(in.output) / channels;
  int64_t first = 0;
  for (size_t o = 0; o < operand_count(in); ++o) {
    const int64_t width = program_.values[operand(in, o)].shape.back();
    give_gradient(index, o, [&](float* d) { take_channels(pixels, width, dy, first, channels, d, context()); });
    first += width;
  }
}

}  // namespace pcqat
