#include "program/geometry.h"

namespace pcqat {

int64_t window_count(int64_t size, int64_t pad_before, int64_t pad_after, int64_t window, int64_t dilation, int64_t stride) {
  const int64_t room = size + pad_before + pad_after - ((window - 1) * dilation + 1);
  return room < 0 ? 0 : room / stride + 1;
}

namespace {

ConvGeometry convolution(const std::vector<int64_t>& in, const std::vector<int64_t>& out, const std::vector<int64_t>& kernel,
                         const Instruction& instruction) {
  ConvGeometry g{};
  g.in_h = in[0], g.in_w = in[1], g.in_c = in[2];
  g.out_h = out[0], g.out_w = out[1], g.out_c = out[2];
  g.kernel_h = kernel[0], g.kernel_w = kernel[1];
  g.stride_h = instruction.strides[0], g.stride_w = instruction.strides[1];
  g.pad_top = instruction.padding[0], g.pad_left = instruction.padding[2];
  g.dilation_h = instruction.dilation[0], g.dilation_w = instruction.dilation[1];
  return g;
}

}  // namespace

ConvGeometry conv_geometry(const Program& program, const Instruction& instruction) {
  return convolution(program.values[instruction.input].shape, program.values[instruction.output].shape,
                     program.tensors[instruction.kernel].shape, instruction);
}

ConvGeometry transposed_geometry(const Program& program, const Instruction& instruction) {
  return convolution(program.values[instruction.output].shape, program.values[instruction.input].shape,
                     program.tensors[instruction.kernel].shape, instruction);
}

PoolGeometry pool_geometry(const Program& program, const Instruction& instruction) {
  const auto& in = program.values[instruction.input].shape;
  const auto& out = program.values[instruction.output].shape;
  PoolGeometry g{};
  g.in_h = in[0], g.in_w = in[1], g.channels = in[2];
  g.out_h = out[0], g.out_w = out[1];
  g.pool_h = instruction.pool[0], g.pool_w = instruction.pool[1];
  g.stride_h = instruction.strides[0], g.stride_w = instruction.strides[1];
  g.pad_top = instruction.padding[0], g.pad_left = instruction.padding[2];
  return g;
}

PadGeometry pad_geometry(const Program& program, const Instruction& instruction) {
  const auto& in = program.values[instruction.input].shape;
  const auto& p = instruction.padding;
  return {in[0], in[1], in[2], p[0], p[1], p[2], p[3]};
}

UpSampleGeometry upsample_geometry(const Program& program, const Instruction& instruction) {
  const auto& in = program.values[instruction.input].shape;
  return {in[0], in[1], in[2], instruction.factors[0], instruction.factors[1], instruction.bilinear};
}

}  // namespace pcqat
