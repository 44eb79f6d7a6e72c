#include <stdint.h>

#define PCQAT_ISA_NAMESPACE scalar
namespace pcqat::scalar {

constexpr int64_t kLanes = 1, kVectors = 4;
constexpr int kRows = 2;
constexpr int kPair = 4;
constexpr uint32_t kBiasPerWeight = 0;
typedef int32_t Acc __attribute__((vector_size(4)));
typedef int8_t Weight;
typedef const int8_t* Taps;

static inline Taps load_taps(const int8_t* a) { return a; }

static inline Acc dot4(Acc sum, Taps a, const Weight* w) {
  const int32_t products = a[0] * w[0] + a[1] * w[1] + a[2] * w[2] + a[3] * w[3];
  return Acc{static_cast<int32_t>(static_cast<uint32_t>(sum[0]) + static_cast<uint32_t>(products))};
}

static inline Acc high_multiply(Acc x, Acc m) {
  return Acc{static_cast<int32_t>((static_cast<int64_t>(x[0]) * m[0] + (int64_t{1} << 30)) >> 31)};
}

}  // namespace pcqat::scalar

#include "simd/int8_impl.h"
PCQAT_INT8_TABLE(scalar, nullptr)
