// Rounding activations as the integer kernels do, so that a simulation in f32 gives the codes of the exported file.
#pragma once

#include <vector>

#include "integer/add.h"
#include "integer/hard_swish.h"
#include "ops/common.h"

namespace pcqat {

// How the integer sums behind real values become codes. Vectors have one element, or one per channel (last axis).
struct Accumulators {
  std::vector<double> scale;   // real value of 1
  std::vector<double> offset;  // what the file's bias, an integer, lacks of the real one; empty: nothing
  std::vector<integer::FixedPoint> multiplier;
};

enum class CodeRounding {
  twice,       // the accumulator's: after the multiplication and after the shift
  once,        // the accumulator's: once, as FULLY_CONNECTED does it
  nearest,     // of value / scale in f32, halves away from zero
  code,        // of value / scale + zero point, halves away from zero, as means of codes are rounded
  add,         // of the kernel itself, on the codes of the operands
  hard_swish,  // the same
};

struct Requantization {
  CodeRounding rounding = CodeRounding::nearest;
  Accumulators accumulators;         // twice, once
  Accumulators negative;             // of values below 0, where their scales differ; else empty
  float operand_scales[2] = {1, 1};  // add, hard_swish (the first)
  integer::AddScales sum;
  integer::HardSwish hard_swish;
  float scale = 1;
  int32_t zero_point = 0;
};

// y = the real values of the codes that the kernel gives, which `activation` bounds. x: the kernel's unrounded real output; for add and
// hard_swish its real operands, `other` the second one. NaN and infinity become NaN.
void requantize(int64_t count, int64_t channels, const Requantization& r, Activation activation, const float* x, const float* other,
                float* y, const Context& context);

}  // namespace pcqat
