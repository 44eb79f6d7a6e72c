// Checks of a program that came from outside. After validate() every index, shape and attribute can be trusted.
#pragma once

#include "program/program.h"

namespace pcqat {

// No tensor, and no activation of a whole batch, may have more elements.
constexpr int64_t kMaxElements = (int64_t{1} << 31) - 1;

// Throws Error (ERR_GRAPH, ERR_SHAPE, ERR_DTYPE or ERR_OPTION) naming the instruction, tensor or value; fills in the
// element counts. `max_batch` bounds the activations.
void validate(Program& program, int64_t max_batch);

// Parts of validate().
void validate_instruction(const Program& program, size_t index);
void validate_chains(const Program& program);

// Helpers of the checks.
std::string shape_text(const std::vector<int64_t>& shape);
std::string instruction_text(const Program& program, size_t index);  // layer 'conv1' (instructions[3])
// Throws unless `tensor` exists; `role` is e.g. "kernel of layer 'conv1' (instructions[3])".
const TensorSpec& checked_tensor(const Program& program, int tensor, const std::string& role, DType dtype);
void check_shape(const TensorSpec& tensor, const std::vector<int64_t>& expected, const std::string& role);

}  // namespace pcqat
