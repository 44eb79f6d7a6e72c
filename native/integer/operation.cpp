#include "integer/operation.h"

#include <cstring>

namespace pcqat::integer {

std::unique_ptr<Operation> make_operation(const OperatorView& op, const Kernels& kernels) {
  static constexpr struct {
    const char* name;
    Factory make;
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
  };
  for (const auto& factory : kFactories) {
    if (op.op() != factory.name) continue;
    if (op.input(0).constant) op.unsupported("a constant as first input");
    return factory.make(op, kernels);
  }
  op.unsupported("this operator");
}

}  // namespace pcqat::integer
