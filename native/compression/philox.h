// Philox4x32-10 (Salmon et al. 2011), with the word order and the conversions of TensorFlow's SimplePhilox.
#pragma once

#include <cstdint>

namespace pcqat {

class Philox {
 public:
  explicit Philox(uint64_t seed) : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)} {}

  uint32_t next32();
  uint64_t next64() {  // low word first
    const uint64_t low = next32();
    return low | static_cast<uint64_t>(next32()) << 32;
  }
  float uniform();                 // [0, 1), 23 bits
  uint64_t below(uint64_t bound);  // [0, bound), bound >= 1

 private:
  void next_block();

  uint32_t key_[2];
  uint32_t counter_[4] = {0, 0, 0, 0};
  uint32_t block_[4] = {0, 0, 0, 0};
  int used_ = 4;
};

}  // namespace pcqat
