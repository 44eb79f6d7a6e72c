// The compression kernels of one instruction set.
#pragma once

namespace pcqat {

struct CompressionKernels {
  int reserved;
};

}  // namespace pcqat
