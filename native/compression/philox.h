// A stream of Philox4x32-10 numbers, with the word order and the conversions of TensorFlow's SimplePhilox.
#pragma once

#include <cstdint>

#include "philox4x32.h"

namespace pcqat {

class Philox {
 public:
  explicit Philox(uint64_t seed) : key_(seed) {}

  uint32_t next32();
  uint64_t next64() {  // low word first
    const uint64_t low = next32();
    return low | static_cast<uint64_t>(next32()) << 32;
  }
  float uniform();                 // [0, 1), 23 bits
  uint64_t below(uint64_t bound);  // [0, bound), bound >= 1

 private:
  uint64_t key_;
  uint64_t low_ = 0, high_ = 0;  // the counter
  PhiloxBlock block_{};
  int used_ = 4;
};

}  // namespace pcqat
