// A program: the flat list of instructions that a session runs. Plain data, filled by the binding and checked by
// validate() before anything uses it.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "ops/common.h"
#include "ops/requantize.h"
#include "simd/f32_kernels.h"

namespace pcqat {

enum class DType { f32, u8, i32 };

constexpr int kNone = -1;  // an absent tensor or value

// A parameter or piece of state that outlives a step.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  DType dtype = DType::f32;
  bool trainable = false;
  bool weight_decay = false;
  double minimum = -std::numeric_limits<double>::infinity();  // no optimizer update goes below it
  int64_t count = 0;                                          // elements; set by validate()
};

// An activation; the batch dimension is implied.
struct ValueSpec {
  std::string name;
  std::vector<int64_t> shape;
  int64_t count = 0;  // elements per row; set by validate()
};

// Fake quantization of an activation or, with other defaults, of a weight. min == kNone: none.
struct FakeQuantSpec {
  int min = kNone;
  int max = kNone;
  int bits = 8;
  bool symmetric = false;
  bool narrow_range = false;
  RangeUpdate update = RangeUpdate::moving_average;
  double decay = 0.999;

  RangeRule rule() const { return {update, symmetric, narrow_range, bits, static_cast<float>(1.0 - decay)}; }
};

enum class Op {
  conv2d,
  depthwise_conv2d,
  conv2d_transpose,
  dense,
  batch_norm,
  activation,
  unary,
  add,
  multiply,
  concat,
  average_pool,
  max_pool,
  global_average_pool,
  upsample,
  pad,
  reshape,
  dropout,
  fake_quant,
  requantize,
  softmax,
};

// One instruction; fields that the operator does not have keep their defaults.
struct Instruction {
  Op op = Op::reshape;
  std::string name;
  int input = kNone;
  std::vector<int> others;  // add, multiply: the second operand; concat: all after the first
  int output = kNone;

  int kernel = kNone, bias = kNone;                                               // conv2d, depthwise_conv2d, conv2d_transpose, dense
  int gamma = kNone, beta = kNone, moving_mean = kNone, moving_variance = kNone;  // batch_norm
  double momentum = 0, epsilon = 0;

  std::array<int64_t, 2> strides{1, 1}, dilation{1, 1}, pool{1, 1};
  std::array<int64_t, 4> padding{0, 0, 0, 0};  // top, bottom, left, right

  Activation activation = Activation::none;
  Unary unary{UnaryFunction::sigmoid, 0};
  std::array<int64_t, 2> factors{1, 1};  // upsample
  bool bilinear = false;
  FakeQuantSpec fake_quant;
  double rate = 0;                // dropout
  Requantization requantization;  // requantize
};

// Operand 0 is `input`, the others follow.
inline size_t operand_count(const Instruction& in) { return 1 + in.others.size(); }
inline int operand(const Instruction& in, size_t index) { return index == 0 ? in.input : in.others[index - 1]; }

// How a stored weight becomes the used weight; see compression/weight_chain.h. Absent parts have kNone tensors.
struct WeightChainSpec {
  int weight = kNone;
  int mask = kNone;
  bool mask_write_back = false;
  bool mask_gradient = false;
  int centroids = kNone;
  int indices = kNone;
  bool codebook_per_channel = false;
  int zero_index = kNone;
  bool zero_pin_equal = false;
  bool average = false;
  FakeQuantSpec fake_quant{kNone, kNone, 8, true, true, RangeUpdate::last_value};
  bool range_per_channel = false;
};

enum class LossKind { none, softmax_cross_entropy, mean_squared_error };

struct LossSpec {
  LossKind kind = LossKind::none;
  int value = kNone;  // logits or prediction
  bool dense_labels = false;
  double label_smoothing = 0;
};

struct Program {
  std::vector<TensorSpec> tensors;
  std::vector<ValueSpec> values;
  std::vector<Instruction> instructions;
  std::vector<WeightChainSpec> chains;
  int input = kNone;
  int output = kNone;
  LossSpec loss;
};

}  // namespace pcqat
