// The checks of the weight chains.
#include "error.h"
#include "program/validate.h"

namespace pcqat {
namespace {

constexpr int64_t kMaxCentroids = 1 << 16;

void validate_codebook(const Program& program, const WeightChainSpec& chain, const TensorSpec& weight, const std::string& where) {
  const int64_t channels = weight.shape.back();
  const std::string role = "codebook.centroids of " + where;
  const TensorSpec& centroids = checked_tensor(program, chain.centroids, role, DType::f32);
  const bool fits =
      chain.codebook_per_channel ? centroids.shape.size() == 2 && centroids.shape[0] == channels : centroids.shape.size() == 1;
  if (!fits) {
    const std::string expected = chain.codebook_per_channel ? "[" + std::to_string(channels) + ", K]" : "[K]";
    throw Error("ERR_SHAPE", "The " + role + ", tensor '" + centroids.name + "', must have the shape " + expected + ", but has " +
                                 shape_text(centroids.shape) + ".");
  }
  if (centroids.shape.back() > kMaxCentroids) {
    throw Error("ERR_SHAPE",
                "The " + role + ", tensor '" + centroids.name + "', has more than " + std::to_string(kMaxCentroids) + " centroids.");
  }
  const std::string indices = "codebook.indices of " + where;
  check_shape(checked_tensor(program, chain.indices, indices, DType::i32), weight.shape, indices);
  if (chain.zero_index != kNone) {
    const std::string zero = "codebook.zeroIndex of " + where;
    check_shape(checked_tensor(program, chain.zero_index, zero, DType::i32), {chain.codebook_per_channel ? channels : 1}, zero);
  }
}

void validate_range(const Program& program, const WeightChainSpec& chain, const TensorSpec& weight, const std::string& where) {
  for (const auto& [tensor, field] : {std::pair{chain.fake_quant.min, "fakeQuant.min"}, std::pair{chain.fake_quant.max, "fakeQuant.max"}}) {
    const std::string role = field + (" of " + where);
    const TensorSpec& range = checked_tensor(program, tensor, role, DType::f32);
    check_shape(range, {chain.range_per_channel ? weight.shape.back() : 1}, role);
    if (range.trainable) throw Error("ERR_OPTION", "The " + role + ", tensor '" + range.name + "', is state and cannot be trainable.");
  }
  const FakeQuantSpec& quant = chain.fake_quant;
  if (quant.bits < 2 || quant.bits > 8)
    throw Error("ERR_OPTION", "The fakeQuant.bits of " + where + " must be 2 to 8, but is " + std::to_string(quant.bits) + ".");
  if (!(quant.decay >= 0 && quant.decay <= 1)) throw Error("ERR_OPTION", "The fakeQuant.decay of " + where + " must be in [0, 1].");
}

}  // namespace

void validate_chains(const Program& program) {
  for (size_t i = 0; i < program.chains.size(); ++i) {
    const WeightChainSpec& chain = program.chains[i];
    const std::string index = "chains[" + std::to_string(i) + "]";
    const TensorSpec& weight = checked_tensor(program, chain.weight, "weight of " + index, DType::f32);
    const std::string where = index + " (weight '" + weight.name + "')";
    if (chain.mask != kNone) {
      const std::string role = "mask.tensor of " + where;
      check_shape(checked_tensor(program, chain.mask, role, DType::u8), weight.shape, role);
    }
    if (chain.centroids != kNone) validate_codebook(program, chain, weight, where);
    if (chain.fake_quant.min != kNone || chain.fake_quant.max != kNone) validate_range(program, chain, weight, where);
  }
}

}  // namespace pcqat
