// The counter-based generator Philox4x32-10 (Salmon et al. 2011).
#pragma once

#include <cstdint>

namespace pcqat {

struct PhiloxBlock {
  uint32_t word[4];
};

// The 128-bit counter is `high` : `second` : `first`.
inline PhiloxBlock philox4x32(uint64_t key, uint64_t high, uint32_t second, uint32_t first) {
  uint32_t c0 = first, c1 = second, c2 = static_cast<uint32_t>(high), c3 = static_cast<uint32_t>(high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace pcqat
