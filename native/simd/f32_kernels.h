// The f32 kernels of one instruction set.
#pragma once

namespace pcqat {

struct F32Kernels {
  int reserved;
};

}  // namespace pcqat
