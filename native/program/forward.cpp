// Running the instructions forward.
#include <cmath>
#include <cstring>

#include "error.h"
#include "ops/concat.h"
#include "ops/conv.h"
#include "ops/conv_transpose.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/multiply.h"
#include "ops/norm.h"
#include "ops/pool.h"
#include "ops/requantize.h"
#include "ops/unary.h"
#include "ops/upsample.h"
#include "program/geometry.h"
#include "program/session.h"

namespace pcqat {

void Session::forward(int64_t rows, const ForwardOptions& options) {
  rows_ = rows;
  check_finite_rows("x", input_buffer(), program_.values[program_.input].count);
  const bool writes = options.mode != ForwardMode::inference;
  if (writes) save_written(options.mode);
  const Violation violation = run_chains(options.mode == ForwardMode::training);
  if (is_genuine(violation)) {
    if (writes) restore_written();
    throw Error("ERR_INVARIANT", std::to_string(violation.count) + " weights of '" +
                                     program_.tensors[program_.chains[violation.chain].weight].name + "' " +
                                     (violation.zeros ? "are masked but not zero." : "are not a value of their codebook."));
  }
  for (size_t i = 0; i < program_.instructions.size(); ++i) run_instruction(i, options);
  if (is_finite(value_count(program_.output), value_data(program_.output)) && (!writes || non_finite_state().empty())) return;

  if (writes) restore_written();
  const std::string name = find_non_finite_layer(options);
  if (writes) restore_written();
  throw Error("ERR_NON_FINITE", "The output of '" + name + "' is NaN or infinite. Check the weights and the input.");
}

// Throws when one of rows_ x width elements is NaN or infinite.
void Session::check_finite_rows(const char* what, const float* data, int64_t width) {
  const int64_t bad = find_non_finite(rows_ * width, data, context());
  if (bad < 0) return;
  throw Error("ERR_NON_FINITE", std::string(what) + " is NaN or infinite in row " + std::to_string(bad / width) + ", element " +
                                    std::to_string(bad % width) + ".");
}

ActivationQuant Session::activation_quant(const FakeQuantSpec& spec, const ForwardOptions& options) const {
  ActivationQuant quant;
  const bool observe = options.mode == ForwardMode::observe;
  // A fixed range is not calibrated, and observing passes values through.
  if (spec.min == kNone || (observe && spec.update == RangeUpdate::none)) return quant;
  quant.min = f32(spec.min);
  quant.max = f32(spec.max);
  quant.rule = spec.rule();
  quant.mode = observe ? QuantMode::observe : options.mode == ForwardMode::training ? QuantMode::update : QuantMode::frozen;
  quant.reset = options.reset_ranges;
  return quant;
}

const float* Session::kernel_data(const Instruction& in) const {
  const int chain = tensors_[in.kernel].chain;
  return chain == kNone ? f32(in.kernel) : chains_[chain].used;
}

void Session::run_instruction(size_t index, const ForwardOptions& options) {
  const Instruction& in = program_.instructions[index];
  const Context c = context();
  const float* x = value_data(in.input);
  float* y = value_data(in.output);
  const int64_t count = value_count(in.output);
  switch (in.op) {
    case Op::conv2d:
    case Op::depthwise_conv2d: run_conv(index, options); break;
    case Op::conv2d_transpose:
      conv_transpose_forward(transposed_geometry(program_, in), rows_, x, kernel_data(in), f32(in.bias), in.activation, y, c);
      break;
    case Op::dense:
      dense_forward(rows_, program_.values[in.input].count, program_.values[in.output].count, x, kernel_data(in), f32(in.bias),
                    in.activation, y, c);
      break;
    case Op::batch_norm: run_batch_norm(index, options); break;
    case Op::activation:
    case Op::fake_quant:
      activation_forward(count, x, in.activation, activation_quant(in.fake_quant, options), &ranges_[index], y, c);
      break;
    case Op::add:
      add_forward(count, x, value_data(in.others[0]), in.activation, activation_quant(in.fake_quant, options), &ranges_[index], y, c);
      break;
    case Op::unary: unary_forward(count, in.unary, x, activation_quant(in.fake_quant, options), &ranges_[index], y, c); break;
    case Op::multiply: run_multiply(in); break;
    case Op::concat: {
      const int64_t channels = program_.values[in.output].shape.back();
      int64_t first = 0;
      for (size_t o = 0; o < operand_count(in); ++o) {
        const int64_t width = program_.values[operand(in, o)].shape.back();
        put_channels(count / channels, width, value_data(operand(in, o)), first, channels, y, c);
        first += width;
      }
      break;
    }
    case Op::upsample: upsample_forward(upsample_geometry(program_, in), rows_, x, y, c); break;
    case Op::average_pool: average_pool_forward(pool_geometry(program_, in), rows_, x, y, c); break;
    case Op::max_pool: max_pool_forward(pool_geometry(program_, in), rows_, x, y, c); break;
    case Op::global_average_pool: {
      const auto& shape = program_.values[in.input].shape;
      global_average_pool_forward(rows_, shape[0] * shape[1], shape[2], layer_input(index, nullptr), y, c);
      break;
    }
    case Op::pad: pad_forward(pad_geometry(program_, in), rows_, x, y, c); break;
    case Op::reshape: break;  // shares the memory of its input
    case Op::dropout:
      if (options.mode == ForwardMode::training)
        dropout(count, static_cast<float>(in.rate), dropout_key(index, options.step), x, y, c);
      else if (x != y)
        std::memcpy(y, x, count * sizeof(float));
      break;
    case Op::requantize: {
      const float* other = in.others.empty() ? nullptr : value_data(in.others[0]);
      requantize(count, program_.values[in.output].shape.back(), in.requantization, in.activation, x, other, y, c);
      break;
    }
    case Op::softmax: {
      const int64_t classes = program_.values[in.output].shape.back();
      softmax_forward(count / classes, classes, x, y, c);
      break;
    }
  }
}

void Session::run_conv(size_t index, const ForwardOptions& options) {
  const Instruction& in = program_.instructions[index];
  const ConvGeometry g = conv_geometry(program_, in);
  const LayerInput x = layer_input(index, value_data(in.input));
  float* y = value_data(in.output);
  // The batch norm that follows wants sums of the output.
  OutputStatistics* const statistics = options.mode == ForwardMode::training && takes_statistics_[index] ? &statistics_ : nullptr;
  CodeOperands operands;
  if (in.op == Op::depthwise_conv2d)
    depthwise_forward(g, rows_, x, kernel_data(in), f32(in.bias), in.activation, y, statistics, context());
  else if (code_operands(index, options, &operands))
    conv2d_forward_codes(g, rows_, operands, x, kernel_data(in), f32(in.bias), in.activation, y, statistics, context());
  else
    conv2d_forward(g, rows_, x, kernel_data(in), f32(in.bias), in.activation, y, statistics, context());
}

LayerInput Session::layer_input(size_t index, float* settled) const {
  const int norm = plan_.norm_of[index];
  const bool is_delayed = norm != kNone && plan_.delays_output[norm] && norm_outputs_[norm].x != nullptr;
  return {value_data(program_.instructions[index].input), is_delayed ? &norm_outputs_[norm] : nullptr, settled};
}

void Session::run_multiply(const Instruction& in) {
  const ValueSpec &x = program_.values[in.input], &factor = program_.values[in.others[0]];
  const float *a = value_data(in.input), *b = value_data(in.others[0]);
  if (factor.count == x.count)
    multiply(value_count(in.output), a, b, value_data(in.output), context());
  else
    channel_product(rows_, x.count / factor.count, factor.count, a, b, value_data(in.output), context());
}

BatchNormParameters Session::batch_norm_parameters(const Instruction& in) const {
  return {program_.tensors[in.gamma].count, static_cast<float>(in.epsilon), in.momentum, f32(in.gamma), f32(in.beta), f32(in.moving_mean),
          f32(in.moving_variance)};
}

void Session::run_batch_norm(size_t index, const ForwardOptions& options) {
  const Instruction& in = program_.instructions[index];
  const BatchNormParameters p = batch_norm_parameters(in);
  const ActivationQuant quant = activation_quant(in.fake_quant, options);
  const int64_t count = value_count(in.input) / p.channels;
  const float* x = value_data(in.input);
  float* y = value_data(in.output);
  if (options.mode == ForwardMode::training) {
    const bool taken = index > 0 && takes_statistics_[index - 1];
    norm_outputs_[index] = batch_norm_forward_training(p, count, x, taken ? &statistics_ : nullptr, in.activation, quant,
                                                       arena_f32(saved_statistics_[index]), &ranges_[index], context());
    if (!plan_.delays_output[index]) norm_output_all(norm_outputs_[index], count, y, context());
  } else {
    norm_outputs_[index] = {};
    batch_norm_forward_inference(p, count, x, in.activation, quant, &ranges_[index], y, context());
  }
}

bool Session::is_finite(int64_t count, const float* data) { return find_non_finite(count, data, context()) < 0; }

bool Session::is_output_finite(size_t index) {
  const int value = program_.instructions[index].output;
  const NormOutput& output = norm_outputs_[index];
  if (output.x != nullptr && plan_.delays_output[index])
    norm_output_all(output, value_count(value) / output.channels, value_data(value), context());
  return is_finite(value_count(value), value_data(value));
}

std::string Session::non_finite_state() {
  for (const Written& w : written_) {
    if (w.is_small && !is_finite(program_.tensors[w.tensor].count, f32(w.tensor))) return program_.tensors[w.tensor].name;
  }
  return "";
}

std::string Session::non_finite_value() {
  for (size_t i = 0; i < program_.instructions.size(); ++i) {
    if (!is_output_finite(i)) return program_.instructions[i].name;
  }
  return "";
}

// Repeats a failed pass on the restored state and looks at each output while it is there.
std::string Session::find_non_finite_layer(const ForwardOptions& options) {
  run_chains(options.mode == ForwardMode::training);
  for (size_t i = 0; i < program_.instructions.size(); ++i) {
    run_instruction(i, options);
    if (!is_output_finite(i)) return program_.instructions[i].name;
  }
  const std::string state = non_finite_state();
  return state.empty() ? program_.values[program_.output].name : state;
}

}  // namespace pcqat
