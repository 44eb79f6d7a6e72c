// What every operator takes. Conventions for all files of this folder:
// - `rows` is the batch size of this call (at most the planned one); geometry is per example.
// - Outputs are overwritten, never accumulated. The executor adds gradients of values with several consumers.
// - Work is cut into chunks by shape and rows only; partial sums are reduced in chunk order, so results do not depend on
//   the number of threads.
// - `workspace` is 64-byte aligned and at least as large as the matching *_workspace(geometry, max_rows, threads) says.
#pragma once

#include <cstddef>
#include <cstdint>

#include "compression/fake_quant.h"

namespace pcqat {

class ThreadPool;
struct Kernels;

enum class Activation { none, relu, relu6 };

// What an operator runs on.
struct Context {
  const Kernels& kernels;
  ThreadPool& pool;
  void* workspace;
};

// How a fused activation fake quantization behaves in this call.
enum class QuantMode {
  update,   // training: move the range by this batch, then quantize
  frozen,   // inference: quantize with the stored range
  observe,  // calibration: widen the range to this batch (reset first if `reset`), pass values through
};

// Fake quantization of an activation, per tensor.
struct ActivationQuant {
  float* min = nullptr;  // null: no fake quantization
  float* max = nullptr;
  RangeRule rule;
  QuantMode mode = QuantMode::update;
  bool reset = false;
};

}  // namespace pcqat
