#include "integer/operation.h"

#include <cstring>

namespace pcqat::integer {

std::unique_ptr<Operation> make_operation(const OperatorView& op, const Kernels& kernels) {
  static constexpr struct {
    const char* name;
    Factory make;
    size_t input = 0;  // the activation, which cannot be a constant
  } kFactories[] = {
      {"CONV_2D", make_conv2d},
      {"DEPTHWISE_CONV_2D", make_depthwise_conv2d},
      {"FULLY_CONNECTED", make_fully_connected},
      {"AVERAGE_POOL_2D", make_pool2d},
      {"MAX_POOL_2D", make_pool2d},
      {"MEAN", make_mean},
      {"ADD", make_add},
      {"RELU", make_relu},
      {"RELU6", make_relu},
      {"QUANTIZE", make_quantize},
      {"DEQUANTIZE", make_dequantize},
      {"SOFTMAX", make_softmax},
      {"PAD", make_pad},
      {"RESHAPE", make_reshape},
      {"SQUEEZE", make_reshape},
      {"CONCATENATION", make_concatenation},
      {"MUL", make_multiply},
      {"LOGISTIC", make_logistic},
      {"TANH", make_tanh},
      {"LEAKY_RELU", make_leaky_relu},
      {"HARD_SWISH", make_hard_swish},
      {"RESIZE_NEAREST_NEIGHBOR", make_resize_nearest},
      {"RESIZE_BILINEAR", make_resize_bilinear},
      {"TRANSPOSE_CONV", make_transpose_conv, 2},
  };
  for (const auto& factory : kFactories) {
    if (op.op() != factory.name) continue;
    if (op.input(factory.input).constant) op.unsupported("a constant as input");
    return factory.make(op, kernels);
  }
  op.unsupported("this operator");
}

}  // namespace pcqat::integer
