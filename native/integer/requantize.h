// Per-channel multipliers and activation bounds of an operator with weights, as the kernels want them.
#pragma once

#include <vector>

#include "integer/operation.h"
#include "program/aligned_buffer.h"

namespace pcqat::integer {

// Multipliers of 2^30 and more are refused: no sensible model has them, and TFLite's arithmetic overflows.
FixedPoint checked_fixed_point(const OperatorView& op, double real);

// Bounds of the output for a fused activation (or RELU operators), in the executor's domain.
struct Bounds {
  int32_t low = -128, high = 127;
};
Bounds activation_bounds(const OperatorView& op, const std::string& activation);
// The same, by the operator's option fusedActivationFunction.
Bounds fused_bounds(const OperatorView& op);

struct Requantizer {
  std::vector<int32_t> multiplier, left_shift, right_shift;  // padded to kInt8Block
  int32_t zero_point = 0;
  Bounds bounds;

  Requantizer() = default;
  // s_in · s_w[c] / s_out in double, as CONV_2D and DEPTHWISE_CONV_2D compute it (uint8: the product in f32).
  Requantizer(const OperatorView& op, const Tensor& input, const Tensor& weights, int64_t channels);
  // The same multiplier for all channels, without an activation.
  Requantizer(FixedPoint m, int64_t channels, int32_t zero);
  Requantization view() const { return {multiplier.data(), left_shift.data(), right_shift.data(), zero_point, bounds.low, bounds.high}; }
};

// The bias of `channels` elements (zeros where the operator has none), padded to kInt8Block.
std::vector<int32_t> read_bias(const OperatorView& op, size_t input, int64_t channels);
// 8-bit weights, of the type of `input`, in the executor's domain (uint8 minus 128).
std::vector<int8_t> read_weights(const OperatorView& op, const Tensor& weights, const Tensor& input);

// The same number of bytes. Refuses weights so large that packing them needs more memory than a model may.
int64_t packable_bytes(const OperatorView& op, int64_t bytes);
// Packed for a kernel's matrix product. Vectors of weights must not cross lines of the cache: loads are what kernels have most of.
AlignedBuffer pack_weights(const OperatorView& op, const Int8Kernels& kernels, const std::vector<int8_t>& weights,
                           const std::vector<int32_t>& bias, int64_t n, int64_t k);

inline int64_t padded(int64_t channels) { return (channels + kInt8Block - 1) / kInt8Block * kInt8Block; }

}  // namespace pcqat::integer
