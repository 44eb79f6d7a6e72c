// The int8 kernels of one instruction set.
#pragma once

namespace pcqat {

struct Int8Kernels {
  int reserved;
};

}  // namespace pcqat
