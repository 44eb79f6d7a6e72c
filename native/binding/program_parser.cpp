#include "binding/program_parser.h"

#include <cmath>

#include "binding/arguments.h"

namespace pcqat::binding {
namespace {

constexpr size_t kMaxItems = 1 << 16;  // tensors, values, instructions, chains
constexpr size_t kMaxRank = 8;

Activation parse_activation(Fields& fields) {
  return fields.choice<Activation>("activation", {{"none", Activation::none}, {"relu", Activation::relu}, {"relu6", Activation::relu6}});
}

RangeUpdate parse_update(Fields& fields) {
  return fields.choice<RangeUpdate>("update", {{"lastValue", RangeUpdate::last_value},
                                               {"movingAverage", RangeUpdate::moving_average},
                                               {"runningMinMax", RangeUpdate::running_min_max},
                                               {"none", RangeUpdate::none}});
}

// What activations and weights have in common; the defaults are those in `out`.
void parse_range(Fields& fields, FakeQuantSpec& out) {
  out.min = fields.id("min");
  out.max = fields.id("max");
  out.bits = static_cast<int>(fields.integer("bits", 2, 8, out.bits));
  out.symmetric = fields.boolean("symmetric", out.symmetric);
  out.narrow_range = fields.boolean("narrowRange", out.narrow_range);
  out.decay = fields.number("decay", out.decay);
}

void parse_fake_quant(Fields& parent, FakeQuantSpec& out) {
  Fields fields(parent.get("fakeQuant"), parent.path("fakeQuant"));
  parse_range(fields, out);
  out.update = parse_update(fields);
  fields.finish();
}

TensorSpec parse_tensor(const Napi::Value& value, const std::string& path) {
  Fields fields(value, path);
  TensorSpec tensor;
  tensor.name = fields.string("name");
  tensor.shape = fields.integers("shape", kMaxRank);
  tensor.dtype = fields.choice<DType>("dtype", {{"f32", DType::f32}, {"u8", DType::u8}, {"i32", DType::i32}});
  tensor.trainable = fields.boolean("trainable");
  tensor.weight_decay = fields.boolean("weightDecay", false);
  tensor.minimum = fields.number("minimum", tensor.minimum);
  if (std::isfinite(tensor.minimum) && !tensor.trainable) fields.fail("minimum", "ERR_OPTION", "needs a trainable tensor");
  fields.finish();
  return tensor;
}

ValueSpec parse_value(const Napi::Value& value, const std::string& path) {
  Fields fields(value, path);
  ValueSpec spec;
  spec.name = fields.string("name");
  spec.shape = fields.integers("shape", kMaxRank);
  fields.finish();
  return spec;
}

void parse_layer(Fields& fields, Instruction& in) {
  in.kernel = fields.id("kernel");
  in.bias = fields.id("bias", kNone);
  if (in.op == Op::dense) return;
  in.strides = fields.integers<2>("strides");
  in.padding = fields.integers<4>("padding");
  if (in.op != Op::conv2d_transpose) in.dilation = fields.integers<2>("dilation");
}

void parse_batch_norm(Fields& fields, Instruction& in) {
  in.gamma = fields.id("gamma");
  in.beta = fields.id("beta");
  in.moving_mean = fields.id("movingMean");
  in.moving_variance = fields.id("movingVariance");
  in.momentum = fields.number("momentum");
  in.epsilon = fields.number("epsilon");
}

void parse_unary(Fields& fields, Instruction& in) {
  in.unary.function = fields.choice<UnaryFunction>("function", {{"sigmoid", UnaryFunction::sigmoid},
                                                                {"tanh", UnaryFunction::tanh},
                                                                {"hardSwish", UnaryFunction::hard_swish},
                                                                {"leakyRelu", UnaryFunction::leaky_relu}});
  if (in.unary.function == UnaryFunction::leaky_relu) in.unary.alpha = static_cast<float>(fields.number("alpha"));
  if (fields.has("fakeQuant")) parse_fake_quant(fields, in.fake_quant);
}

std::vector<double> parse_doubles(Fields& fields, const char* name) {
  const ArrayView<double> view = array_argument<double>(fields.get(name), fields.path(name));
  if (view.length == 0) fields.fail(name, "ERR_SHAPE", "is empty");
  const std::vector<double> values(view.data, view.data + view.length);
  for (const double value : values) {
    if (!std::isfinite(value)) fields.fail(name, "ERR_NON_FINITE", "must be finite");
  }
  return values;
}

void parse_accumulators(Fields& parent, const char* name, Accumulators& out) {
  Fields fields(parent.get(name), parent.path(name));
  out.scale = parse_doubles(fields, "scale");
  if (fields.has("offset")) out.offset = parse_doubles(fields, "offset");
  const int64_t count = fields.integer("count", 1, int64_t{1} << 31, 1);
  for (const double scale : out.scale) {
    if (!(scale > 0)) fields.fail("scale", "ERR_OPTION", "must be positive");
  }
  for (const double real : parse_doubles(fields, "multiplier")) {
    if (!(real > 0 && real < 1 << 30)) fields.fail("multiplier", "ERR_OPTION", "must be positive and below 2^30");
    const integer::FixedPoint m = integer::to_fixed_point(real);
    out.multiplier.push_back(count == 1 ? m : integer::divided(m, count));
  }
  fields.finish();
}

void parse_requantization(Fields& parent, Requantization& out) {
  Fields fields(parent.get("requantization"), parent.path("requantization"));
  out.rounding = fields.choice<CodeRounding>("rounding", {{"twice", CodeRounding::twice},
                                                          {"once", CodeRounding::once},
                                                          {"nearest", CodeRounding::nearest},
                                                          {"code", CodeRounding::code},
                                                          {"add", CodeRounding::add},
                                                          {"hardSwish", CodeRounding::hard_swish}});
  if (out.rounding == CodeRounding::twice || out.rounding == CodeRounding::once) {
    parse_accumulators(fields, "accumulators", out.accumulators);
    if (fields.has("negative")) parse_accumulators(fields, "negative", out.negative);
  }
  const auto scale = [&](const char* name) {
    const float value = static_cast<float>(fields.number(name));
    if (!(value > 0 && std::isfinite(value))) fields.fail(name, "ERR_OPTION", "must be positive and fit into f32");
    return value;
  };
  out.scale = scale("scale");
  const bool sum = out.rounding == CodeRounding::add;
  if (sum || out.rounding == CodeRounding::hard_swish) {
    out.operand_scales[0] = scale("inputScale");
    if (sum) out.operand_scales[1] = scale("otherScale");
    const bool fits = sum ? integer::make_add_scales(out.operand_scales[0], out.operand_scales[1], out.scale, out.sum)
                          : integer::make_hard_swish(out.operand_scales[0], out.scale, out.hard_swish);
    if (!fits) fields.fail("scale", "ERR_OPTION", "is too small beside the operands'");
  }
  out.zero_point = static_cast<int32_t>(fields.integer("zeroPoint", -128, 127));
  fields.finish();
}

Instruction parse_instruction(const Napi::Value& value, const std::string& path) {
  Fields fields(value, path);
  Instruction in;
  in.op = fields.choice<Op>("op", {{"conv2d", Op::conv2d},
                                   {"depthwiseConv2d", Op::depthwise_conv2d},
                                   {"conv2dTranspose", Op::conv2d_transpose},
                                   {"dense", Op::dense},
                                   {"batchNorm", Op::batch_norm},
                                   {"activation", Op::activation},
                                   {"unary", Op::unary},
                                   {"add", Op::add},
                                   {"multiply", Op::multiply},
                                   {"concat", Op::concat},
                                   {"averagePool", Op::average_pool},
                                   {"maxPool", Op::max_pool},
                                   {"globalAveragePool", Op::global_average_pool},
                                   {"upSample", Op::upsample},
                                   {"pad", Op::pad},
                                   {"reshape", Op::reshape},
                                   {"dropout", Op::dropout},
                                   {"fakeQuant", Op::fake_quant},
                                   {"requantize", Op::requantize},
                                   {"softmax", Op::softmax}});
  in.name = fields.string("name");
  in.input = fields.id("input");
  in.output = fields.id("output");
  switch (in.op) {
    case Op::conv2d:
    case Op::depthwise_conv2d:
    case Op::conv2d_transpose:
    case Op::dense:
      parse_layer(fields, in);
      if (fields.has("activation")) in.activation = parse_activation(fields);
      break;
    case Op::batch_norm:
    case Op::add:
      if (in.op == Op::add)
        in.others = {fields.id("other")};
      else
        parse_batch_norm(fields, in);
      if (fields.has("activation")) in.activation = parse_activation(fields);
      if (fields.has("fakeQuant")) parse_fake_quant(fields, in.fake_quant);
      break;
    case Op::activation:
      in.activation = parse_activation(fields);
      if (fields.has("fakeQuant")) parse_fake_quant(fields, in.fake_quant);
      break;
    case Op::unary: parse_unary(fields, in); break;
    case Op::multiply: in.others = {fields.id("other")}; break;
    case Op::concat: in.others = fields.ids("others", kMaxItems); break;
    case Op::upsample:
      in.factors = fields.integers<2>("size");
      in.bilinear = fields.choice<bool>("interpolation", {{"nearest", false}, {"bilinear", true}});
      break;
    case Op::fake_quant: parse_fake_quant(fields, in.fake_quant); break;
    case Op::requantize:
      parse_requantization(fields, in.requantization);
      if (in.requantization.rounding == CodeRounding::add) in.others = {fields.id("other")};
      if (fields.has("activation")) in.activation = parse_activation(fields);
      break;
    case Op::average_pool:
    case Op::max_pool:
      in.pool = fields.integers<2>("pool");
      in.strides = fields.integers<2>("strides");
      in.padding = fields.integers<4>("padding");
      break;
    case Op::pad: in.padding = fields.integers<4>("padding"); break;
    case Op::dropout: in.rate = fields.number("rate"); break;
    case Op::global_average_pool:
    case Op::reshape:
    case Op::softmax: break;
  }
  fields.finish();
  return in;
}

void parse_codebook(Fields& parent, WeightChainSpec& chain) {
  Fields fields(parent.get("codebook"), parent.path("codebook"));
  chain.centroids = fields.id("centroids");
  chain.indices = fields.id("indices");
  chain.codebook_per_channel = fields.boolean("perChannel");
  chain.zero_index = fields.id("zeroIndex", kNone);
  if (fields.has("zeroPin")) {
    chain.zero_pin_equal = fields.choice<bool>("zeroPin", {{"index", false}, {"equal", true}});
    if (chain.zero_index == kNone) fields.fail("zeroPin", "ERR_OPTION", "needs zeroIndex");
  } else if (chain.zero_index != kNone) {
    fields.fail("zeroIndex", "ERR_OPTION", "needs zeroPin");
  }
  chain.average = fields.choice<bool>("aggregation", {{"sum", false}, {"average", true}});
  fields.finish();
}

WeightChainSpec parse_chain(const Napi::Value& value, const std::string& path) {
  Fields fields(value, path);
  WeightChainSpec chain;
  chain.weight = fields.id("weight");
  if (fields.has("mask")) {
    Fields mask(fields.get("mask"), fields.path("mask"));
    chain.mask = mask.id("tensor");
    chain.mask_write_back = mask.boolean("writeBack");
    chain.mask_gradient = mask.boolean("maskGradient");
    mask.finish();
  }
  if (fields.has("codebook")) parse_codebook(fields, chain);
  if (fields.has("fakeQuant")) {
    Fields quant(fields.get("fakeQuant"), fields.path("fakeQuant"));
    parse_range(quant, chain.fake_quant);
    if (quant.has("update")) chain.fake_quant.update = parse_update(quant);
    chain.range_per_channel = quant.boolean("perChannel");
    quant.finish();
  }
  fields.finish();
  return chain;
}

LossSpec parse_loss(const Napi::Value& value) {
  Fields fields(value, "loss");
  LossSpec loss;
  loss.kind = fields.choice<LossKind>(
      "kind", {{"softmaxCrossEntropy", LossKind::softmax_cross_entropy}, {"meanSquaredError", LossKind::mean_squared_error}});
  if (loss.kind == LossKind::mean_squared_error) {
    loss.value = fields.id("prediction");
  } else {
    loss.value = fields.id("logits");
    loss.dense_labels = fields.choice<bool>("labels", {{"sparse", false}, {"dense", true}});
    loss.label_smoothing = fields.number("labelSmoothing", 0);
  }
  fields.finish();
  return loss;
}

// A fraction in [0, 1), as moments and momentum are.
double fraction(Fields& fields, const char* name) {
  const double value = fields.number(name);
  if (!(value >= 0 && value < 1)) fields.fail(name, "ERR_OPTION", "must be in [0, 1)");
  return value;
}

OptimizerSpec parse_optimizer(Fields& parent) {
  Fields fields(parent.get("optimizer"), "optimizer");
  OptimizerSpec optimizer;
  optimizer.kind =
      fields.choice<OptimizerKind>("kind", {{"adam", OptimizerKind::adam}, {"adamw", OptimizerKind::adamw}, {"sgd", OptimizerKind::sgd}});
  if (optimizer.kind == OptimizerKind::sgd) {
    optimizer.momentum = fraction(fields, "momentum");
    optimizer.nesterov = fields.boolean("nesterov");
  } else {
    optimizer.beta1 = fraction(fields, "beta1");
    optimizer.beta2 = fraction(fields, "beta2");
    optimizer.epsilon = fields.number("epsilon");
    // A denormal or zero epsilon in f32 would divide 0 by 0 for a weight that never had a gradient.
    if (!(static_cast<float>(optimizer.epsilon) >= 1e-30f)) fields.fail("epsilon", "ERR_OPTION", "must be at least 1e-30");
  }
  optimizer.weight_decay = fields.number("weightDecay", 0);
  if (!(optimizer.weight_decay >= 0)) fields.fail("weightDecay", "ERR_OPTION", "must not be negative");
  fields.finish();
  return optimizer;
}

double positive(Fields& fields, const char* name) {
  if (!fields.has(name)) return 0;
  const double value = fields.number(name);
  if (!(static_cast<float>(value) > 0)) fields.fail(name, "ERR_OPTION", "must be positive");
  return value;
}

}  // namespace

Program parse_program(const Napi::Value& spec) {
  Fields fields(spec, "");
  Program program;
  fields.list("tensors", kMaxItems,
              [&](const Napi::Value& v, const std::string& path) { program.tensors.push_back(parse_tensor(v, path)); });
  fields.list("values", kMaxItems, [&](const Napi::Value& v, const std::string& path) { program.values.push_back(parse_value(v, path)); });
  fields.list("instructions", kMaxItems,
              [&](const Napi::Value& v, const std::string& path) { program.instructions.push_back(parse_instruction(v, path)); });
  fields.list("chains", kMaxItems, [&](const Napi::Value& v, const std::string& path) { program.chains.push_back(parse_chain(v, path)); });
  program.input = fields.id("input");
  program.output = fields.id("output");
  if (fields.has("loss")) program.loss = parse_loss(fields.get("loss"));
  fields.finish();
  return program;
}

SessionOptions parse_session_options(Fields& fields) {
  SessionOptions options;
  options.max_batch = fields.integer("maxBatch", 1, 1 << 24);
  options.training = fields.boolean("training");
  if (fields.has("optimizer")) options.optimizer = parse_optimizer(fields);
  options.clip_norm = positive(fields, "clipNorm");
  options.clip_value = positive(fields, "clipValue");
  options.threads = static_cast<int>(fields.integer("threads", 1, 256, default_threads()));
  options.seed = static_cast<uint64_t>(fields.integer("seed", 0, 9007199254740991, 0));
  options.keep_values = fields.boolean("keepValues", false);
  if (fields.has("gradients")) options.bf16_gradients = fields.choice<bool>("gradients", {{"f32", false}, {"bf16", true}});
  return options;
}

}  // namespace pcqat::binding
