// One operator of an integer program, ready to run: checked, weights packed, multipliers computed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "integer/program.h"
#include "integer/rounding.h"
#include "simd/int8_kernels.h"
#include "simd/kernels.h"

namespace pcqat::integer {

// The memory of one worker while it runs one row.
struct Frame {
  uint8_t* const* values;  // by tensor index; null for constants
  uint8_t* scratch;

  template <typename T>
  T* value(int64_t tensor) const {
    return reinterpret_cast<T*>(values[tensor]);
  }
};

// Limits that keep a hostile program from taking all memory or running for ever; far above any real model.
constexpr int64_t kMaxProgramBytes = int64_t{1} << 29;  // activations and scratch of one worker; packed weights
constexpr int64_t kMaxProgramWork = int64_t{1} << 38;   // multiplications of one row

// uint8 values are held as int8 (value − 128) between the model's input and output, so that one set of kernels serves both.
class Operation {
 public:
  virtual ~Operation() = default;
  virtual void run(const Frame& frame) const { run_rows(frame, 0, rows); }
  // Part of an operation whose rows of output can be computed apart, by threads with scratch memory of their own.
  virtual void run_rows(const Frame&, int64_t /*first*/, int64_t /*last*/) const {}
  // Rows that run_rows takes; 0: the operation overrides run instead.
  int64_t rows = 0;
  // Bytes of Frame::scratch.
  int64_t scratch_bytes = 0;
  // Multiplications and additions of one run, to refuse programs that would take for ever.
  int64_t work = 0;
  // Bytes of packed weights.
  int64_t constant_bytes = 0;
};

using Factory = std::unique_ptr<Operation> (*)(const OperatorView&, const Kernels&);

std::unique_ptr<Operation> make_conv2d(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_depthwise_conv2d(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_fully_connected(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_pool2d(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_mean(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_add(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_relu(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_quantize(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_dequantize(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_softmax(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_pad(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_reshape(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_concatenation(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_multiply(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_logistic(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_tanh(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_leaky_relu(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_hard_swish(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_resize_nearest(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_resize_bilinear(const OperatorView& op, const Kernels& kernels);
std::unique_ptr<Operation> make_transpose_conv(const OperatorView& op, const Kernels& kernels);

// The operation for an operator. Throws ERR_UNSUPPORTED that names it when there is none.
std::unique_ptr<Operation> make_operation(const OperatorView& op, const Kernels& kernels);

}  // namespace pcqat::integer
