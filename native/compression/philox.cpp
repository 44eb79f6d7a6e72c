#include "compression/philox.h"

#include <cstring>

namespace pcqat {

void Philox::next_block() {
  uint32_t c[4] = {counter_[0], counter_[1], counter_[2], counter_[3]};
  uint32_t key[2] = {key_[0], key_[1]};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    const uint32_t next[4] = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(p1),
                              static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(p0)};
    std::memcpy(c, next, sizeof c);
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  std::memcpy(block_, c, sizeof c);
  used_ = 0;
  for (uint32_t& word : counter_) {
    if (++word != 0) break;
  }
}

uint32_t Philox::next32() {
  if (used_ == 4) next_block();
  return block_[used_++];
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
