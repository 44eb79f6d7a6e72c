// Which convolutions can take their products in integers: both operands lie on the grid of a fake quantization.
#include "program/geometry.h"
#include "program/session.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// Its output's values are values of its input, or 0, which is on every grid.
bool keeps_codes(Op op) { return op == Op::reshape || op == Op::max_pool || op == Op::pad; }

}  // namespace

bool Session::has_code_kernel(const Instruction& in) const {
  const int chain = tensors_[in.kernel].chain;
  if (chain == kNone) return false;
  const FakeQuantSpec& quant = program_.chains[chain].fake_quant;
  return quant.min != kNone && quant.symmetric && quant.bits <= 8;
}

void Session::find_code_sources() {
  std::vector<int> quantized_by(program_.values.size(), kNone);
  code_sources_.assign(program_.instructions.size(), kNone);
  if (kernels_.code_product == nullptr) return;
  for (size_t i = 0; i < program_.instructions.size(); ++i) {
    const Instruction& in = program_.instructions[i];
    if (in.op == Op::conv2d && has_code_kernel(in) && fits_codes(conv_geometry(program_, in))) code_sources_[i] = quantized_by[in.input];
    if (in.fake_quant.min != kNone)
      quantized_by[in.output] = in.fake_quant.bits <= 8 ? static_cast<int>(i) : kNone;
    else if (keeps_codes(in.op))
      quantized_by[in.output] = quantized_by[in.input];
  }
}

bool Session::code_operands(size_t index, const ForwardOptions& options, CodeOperands* operands) const {
  const int source = code_sources_[index];
  if (source == kNone || options.mode == ForwardMode::observe) return false;
  operands->x = ranges_[source];
  if (operands->x.is_zero || operands->x.is_nan) return false;
  const int chain = tensors_[program_.instructions[index].kernel].chain;
  const WeightChainSpec& spec = program_.chains[chain];
  operands->weight_min = chains_[chain].min;
  operands->weight_max = chains_[chain].max;
  operands->per_channel = spec.range_per_channel;
  operands->weight_bits = spec.fake_quant.bits;
  operands->weight_narrow_range = spec.fake_quant.narrow_range;
  if (chains_[chain].table != nullptr) {
    operands->table = chains_[chain].table;
    operands->indices = chains_[chain].small_indices;
  }
  return true;
}

}  // namespace pcqat
