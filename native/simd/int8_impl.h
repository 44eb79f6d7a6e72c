// The int8 kernels, compiled once per instruction set. No STL, no inline function shared with other units.
//
// The including file defines, in namespace pcqat::PCQAT_ISA_NAMESPACE, how four taps of a row are multiplied:
//   kLanes, kVectors     a block has kLanes · kVectors output channels
//   kRows                rows of a register tile
//   Acc                  vector of kLanes int32
//   Weight               element type of packed weights: int8_t or int16_t
//   kPair                taps that lie side by side for one channel in the packed weights: 4 or 2
//   kBiasPerWeight       what `dot4` adds too much per unit of weight (128 where activations are made unsigned)
//   Taps load_taps(const int8_t*)                   four taps of a row, for all lanes
//   Acc dot4(Acc, Taps, const Weight*)              adds four products per lane
//   Acc high_multiply(Acc x, Acc m)                 (x·m + 2^30) >> 31 per lane
#pragma once

#include <string.h>

#include "simd/int8_kernels.h"

namespace pcqat::PCQAT_ISA_NAMESPACE {

constexpr int64_t kBlock = kLanes * kVectors;
static_assert(kInt8Block % kBlock == 0, "blocks must tile the padding of arrays");

typedef uint32_t UnsignedAcc __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef Acc UnalignedAcc __attribute__((aligned(4), may_alias));
typedef Acc FourBytes __attribute__((aligned(1), may_alias));  // in every lane
typedef int8_t Bytes __attribute__((vector_size(kLanes)));
typedef Bytes UnalignedBytes __attribute__((aligned(1), may_alias));

static inline Acc load(const int32_t* p) { return *reinterpret_cast<const UnalignedAcc*>(p); }
static inline void store(int32_t* p, Acc v) { *reinterpret_cast<UnalignedAcc*>(p) = v; }
static inline Acc splat(int32_t v) { return Acc{} + v; }
// Signed vectors must not overflow by the rules of C++; sums wrap on purpose.
static inline Acc wrapping_add(Acc a, Acc b) {
  return reinterpret_cast<Acc>(reinterpret_cast<UnsignedAcc>(a) + reinterpret_cast<UnsignedAcc>(b));
}

static int64_t groups(int64_t k) { return (k + 3) / 4; }

// A block: its kBlock start values (bias), then for each group of four taps kBlock · 4 weights.
static int64_t block_bytes(int64_t k) { return kBlock * 4 + groups(k) * kBlock * 4 * static_cast<int64_t>(sizeof(Weight)); }

static int64_t packed_bytes(int64_t n, int64_t k) { return (n + kBlock - 1) / kBlock * block_bytes(k); }

static void pack(const int8_t* weights, const int32_t* bias, int64_t n, int64_t k, void* packed) {
  memset(packed, 0, packed_bytes(n, k));
  for (int64_t j = 0; j < n; ++j) {
    char* block = static_cast<char*>(packed) + j / kBlock * block_bytes(k);
    const int64_t lane = j % kBlock;
    Weight* out = reinterpret_cast<Weight*>(block + kBlock * 4);
    uint32_t sum = 0;
    for (int64_t t = 0; t < k; ++t) {
      const int8_t w = weights[j * k + t];
      sum += static_cast<uint32_t>(static_cast<int32_t>(w));
      // [group][pair][vector][lane][tap of the pair]
      const int64_t pair = t % 4 / kPair;
      out[((t / 4 * (4 / kPair) + pair) * kBlock + lane) * kPair + t % kPair] = w;
    }
    reinterpret_cast<uint32_t*>(block)[lane] = static_cast<uint32_t>(bias[j]) - kBiasPerWeight * sum;
  }
}

template <int kTile>
static inline void tile(const int8_t* a, int64_t lda, const char* block, int64_t group_count, int32_t* acc, int64_t ldc) {
  Acc sums[kTile][kVectors];
  const int32_t* start = reinterpret_cast<const int32_t*>(block);
  const Weight* weights = reinterpret_cast<const Weight*>(block + kBlock * 4);
#pragma GCC unroll 16
  for (int r = 0; r < kTile; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sums[r][v] = load(start + v * kLanes);
  }
  for (int64_t g = 0; g < group_count; ++g, weights += kBlock * 4) {
#pragma GCC unroll 16
    for (int r = 0; r < kTile; ++r) {
      const Taps taps = load_taps(a + r * lda + 4 * g);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sums[r][v] = dot4(sums[r][v], taps, weights + v * kLanes * kPair);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kTile; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) store(acc + r * ldc + v * kLanes, sums[r][v]);
  }
}

static void matmul(const int8_t* a, int64_t m, int64_t lda, const void* packed, int64_t n, int64_t k, int32_t* acc, int64_t ldc) {
  const int64_t group_count = groups(k);
  for (int64_t j = 0; j < n; j += kBlock) {
    const char* block = static_cast<const char*>(packed) + j / kBlock * block_bytes(k);
    int64_t i = 0;
    for (; i + kRows <= m; i += kRows) tile<kRows>(a + i * lda, lda, block, group_count, acc + i * ldc + j, ldc);
    for (; i < m; ++i) tile<1>(a + i * lda, lda, block, group_count, acc + i * ldc + j, ldc);
  }
}

static void depthwise(const int8_t* const* taps, int64_t tap_count, const int32_t* weights, const int32_t* bias, int64_t channels,
                      int32_t* acc) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    Acc sum = load(bias + c);
    for (int64_t t = 0; t < tap_count; ++t) {
      const Bytes x = *reinterpret_cast<const UnalignedBytes*>(taps[t] + c);
      sum = wrapping_add(sum, __builtin_convertvector(x, Acc) * load(weights + t * channels + c));
    }
    store(acc + c, sum);
  }
  for (; c < channels; ++c) {
    uint32_t sum = static_cast<uint32_t>(bias[c]);
    for (int64_t t = 0; t < tap_count; ++t) sum += static_cast<uint32_t>(taps[t][c] * weights[t * channels + c]);
    acc[c] = static_cast<int32_t>(sum);
  }
}

// The j-th byte of every lane as a number. GCC 12 converts bytes one by one.
static inline Acc byte_of(Acc v, int j) {
  return reinterpret_cast<Acc>(reinterpret_cast<UnsignedAcc>(v) << static_cast<uint32_t>(24 - 8 * j)) >> 24;
}

static void sum_rows(const int8_t* x, int64_t count, int64_t channels, int32_t* acc) {
  static_assert(4 * kLanes <= kInt8Overread, "the last channels are read with what follows them");
  for (int64_t c = 0; c < channels; c += 4 * kLanes) {
    Acc sums[4] = {};
    for (int64_t i = 0; i < count; ++i) {
      const Acc four = *reinterpret_cast<const FourBytes*>(x + i * channels + c);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) sums[j] = wrapping_add(sums[j], byte_of(four, j));
    }
    for (int64_t i = 0; i < 4 * kLanes && c + i < channels; ++i) acc[c + i] = sums[i % 4][i / 4];
  }
}

static inline Acc clamp(Acc v, Acc low, Acc high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}

static void requantize(const int32_t* acc, int64_t n, const Requantization& p, int8_t* out) {
  const Acc zero_point = splat(p.zero_point), low = splat(p.low), high = splat(p.high);
  for (int64_t c = 0; c < n; c += kLanes) {
    const Acc left = load(p.left_shift + c), right = load(p.right_shift + c);
    const Acc x = reinterpret_cast<Acc>(reinterpret_cast<UnsignedAcc>(load(acc + c)) << reinterpret_cast<UnsignedAcc>(left));
    const Acc product = high_multiply(x, load(p.multiplier + c));
    // Rounding right shift, halves away from zero. A comparison gives −1 for true.
    const Acc mask = wrapping_add(splat(1) << right, splat(-1));  // right may be 31
    const Acc threshold = (mask >> 1) - (product < 0);
    const Acc rounded = (product >> right) - ((product & mask) > threshold);
    const Bytes bytes = __builtin_convertvector(clamp(wrapping_add(rounded, zero_point), low, high), Bytes);
    if (c + kLanes <= n)
      *reinterpret_cast<UnalignedBytes*>(out + c) = bytes;
    else
      memcpy(out + c, &bytes, n - c);
  }
}

}  // namespace pcqat::PCQAT_ISA_NAMESPACE

#define PCQAT_INT8_TABLE_NAME(ISA) int8_kernels_##ISA
#define PCQAT_INT8_TABLE(ISA, FUSED)                                                                    \
  namespace pcqat {                                                                                     \
  extern const Int8Kernels PCQAT_INT8_TABLE_NAME(ISA);                                                  \
  const Int8Kernels PCQAT_INT8_TABLE_NAME(ISA){                                                         \
      ISA::packed_bytes, ISA::pack, ISA::matmul, ISA::depthwise, ISA::sum_rows, ISA::requantize, FUSED, \
  };                                                                                                    \
  }
