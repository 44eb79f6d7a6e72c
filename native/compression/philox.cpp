#include "compression/philox.h"

#include <cstring>

namespace pcqat {

uint32_t Philox::next32() {
  if (used_ == 4) {
    block_ = philox4x32(key_, high_, static_cast<uint32_t>(low_ >> 32), static_cast<uint32_t>(low_));
    used_ = 0;
    if (++low_ == 0) ++high_;
  }
  return block_.word[used_++];
}

float Philox::uniform() {
  const uint32_t bits = 0x3F800000 | (next32() & 0x7FFFFF);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value - 1.0f;
}

uint64_t Philox::below(uint64_t bound) {
  if ((bound & (bound - 1)) == 0) return next64() & (bound - 1);
  const uint64_t rejected = ~uint64_t{0} % bound + 1;
  uint64_t value = next64();
  while (value < rejected) value = next64();
  return value % bound;
}

}  // namespace pcqat
