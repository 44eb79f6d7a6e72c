// A block of 64 output channels whose sums are requantized in registers.
//
// Full blocks hold their sums in the order that interleaving bytes gives (see fused_depthwise.h) and that packing to bytes undoes: lane
// 4L + i of vector q is channel 16L + 4q + i. Blocks of fewer channels hold them in natural order, in as few vectors as they need.
//
// TFLite rounds twice: h = (x·m + 2^30) >> 31, then r = h / 2^s with halves away from zero, plus the zero point. With s ≥ 1 and all
// sums below 2^31 the second part is (h + 2^(s−1) + (zero point << s) − (h < 0)) >> s. `make_block` checks that. Where the lower bound
// is the zero point or above (ReLU), negative numbers all become the bound, so that −(h < 0) changes nothing and is left out; elsewhere
// (x < 0) takes its place: they differ for h = 0 only, where both give the zero point.
//
// Sums get 2^31 added, which makes them unsigned, and are multiplied by 2m: the upper half of (x + 2^31)·2m + 2^31 is h + m, so that h
// needs no shift. The constants take −m in return.
#pragma once

#include <string.h>

#include "simd/inline.h"
#include "simd/int8_kernels.h"

namespace pcqat::avx512vnni {

constexpr int64_t kFusedBlock = 64;

struct FusedBlock {
  int32_t bias[kFusedBlock], multiplier[kFusedBlock], shift[kFusedBlock], round[kFusedBlock];
  // The multipliers of odd lanes, one lane earlier.
  int32_t odd_multiplier[kFusedBlock];
};

// Are negative numbers all below the lower bound?
static inline bool is_rectified(const Requantization& p) { return p.low >= p.zero_point; }

// Four products of unsigned and signed bytes per lane. GCC 12 copies the sum around the intrinsic, which costs the front end more than
// the product does.
static PCQAT_INLINE void add_products(__m512i& sum, __m512i taps, const __m512i& weights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(taps), "vm"(weights));
}

static inline int64_t fused_channel(int64_t position, bool interleaved) {
  if (!interleaved) return position;
  const int64_t vector = position / 16, lane = position % 16;
  return lane / 4 * 16 + vector * 4 + lane % 4;
}

// The constants of `count` channels from `first` on, counted again from 0 after the last of `channels`. Of each, `magnitude` is Σ|w| and
// `sum` is Σw. False where they do not fit.
static bool make_block(FusedBlock& block, int64_t first, int64_t count, int64_t channels, bool interleaved, const int32_t* bias,
                       const int64_t* sum, const int64_t* magnitude, const Requantization& p) {
  constexpr int64_t kLimit = (int64_t{1} << 31) - 1;
  for (int64_t position = 0; position < kFusedBlock; ++position) {
    const int64_t local = fused_channel(position, interleaved), c = (first + local) % channels;
    if (local >= count) {
      block.bias[position] = block.multiplier[position] = block.round[position] = 0;
      block.shift[position] = 1;
      continue;
    }
    const int64_t shift = p.right_shift[c], zero = p.zero_point;
    if (p.left_shift[c] != 0 || shift < 1 || shift > 20) return false;
    // |x| before and after 128 is added to every activation.
    const int64_t largest = (bias[c] < 0 ? -int64_t{bias[c]} : int64_t{bias[c]}) + 256 * magnitude[local];
    const int64_t round = (int64_t{1} << (shift - 1)) + zero * (int64_t{1} << shift);
    if (largest + (round < 0 ? -round : round) + 2 > kLimit) return false;
    block.bias[position] = static_cast<int32_t>(static_cast<uint32_t>(bias[c] - 128 * sum[local]) + 0x80000000u);
    block.multiplier[position] = static_cast<int32_t>(2u * static_cast<uint32_t>(p.multiplier[c]));
    block.shift[position] = static_cast<int32_t>(shift);
    block.round[position] = static_cast<int32_t>(round - p.multiplier[c] - (is_rectified(p) ? 0 : 1));
  }
  for (int64_t position = 0; position < kFusedBlock; ++position) {
    block.odd_multiplier[position] = position % 2 == 0 ? block.multiplier[position + 1] : 0;
  }
  return true;
}

struct FusedConstants {
  __m512i multiplier, odd_multiplier, shift, round;
};

static PCQAT_INLINE FusedConstants fused_constants(const FusedBlock& block, int v) {
  return {_mm512_loadu_si512(block.multiplier + 16 * v), _mm512_loadu_si512(block.odd_multiplier + 16 * v),
          _mm512_loadu_si512(block.shift + 16 * v), _mm512_loadu_si512(block.round + 16 * v)};
}

template <bool kRectified>
static PCQAT_INLINE __m512i fused_requantize(__m512i x, const FusedConstants& c) {
  const __m512i half = _mm512_set1_epi64(int64_t{1} << 31);
  const __m512i even = _mm512_add_epi64(_mm512_mul_epu32(x, c.multiplier), half);
  const __m512i odd = _mm512_add_epi64(_mm512_mul_epu32(_mm512_srli_epi64(x, 32), c.odd_multiplier), half);
  const __m512i high = _mm512_castps_si512(_mm512_mask_movehdup_ps(_mm512_castsi512_ps(odd), 0x5555, _mm512_castsi512_ps(even)));
  __m512i sum = _mm512_add_epi32(high, c.round);
  if constexpr (!kRectified) sum = _mm512_sub_epi32(sum, _mm512_srai_epi32(x, 31));  // + 1 for all but negative numbers
  return _mm512_srav_epi32(sum, c.shift);
}

// The bytes of four requantized vectors in interleaved order, bounded.
static PCQAT_INLINE __m512i fused_bytes_of(__m512i v0, __m512i v1, __m512i v2, __m512i v3, __m512i low, __m512i high) {
  const __m512i bytes = _mm512_packs_epi16(_mm512_packs_epi32(v0, v1), _mm512_packs_epi32(v2, v3));
  return _mm512_min_epi8(_mm512_max_epi8(bytes, low), high);
}

// Stores the first bytes of a vector. Masked stores take AMD's processors many times as long as these pieces.
static PCQAT_INLINE void store_first(int8_t* p, __m128i bytes, int64_t count) {
  if (count >= 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
    return;
  }
  if (count & 8) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), bytes);
    bytes = _mm_srli_si128(bytes, 8);
    p += 8;
  }
  if (count & 4) {
    const int32_t four = _mm_cvtsi128_si32(bytes);
    __builtin_memcpy(p, &four, 4);
    bytes = _mm_srli_si128(bytes, 4);
    p += 4;
  }
  const int32_t rest = _mm_cvtsi128_si32(bytes);
  if (count & 2) {
    __builtin_memcpy(p, &rest, 2);
    if (count & 1) p[2] = static_cast<int8_t>(rest >> 16);
  } else if (count & 1) {
    p[0] = static_cast<int8_t>(rest);
  }
}

static PCQAT_INLINE void store_first(int8_t* p, __m512i bytes, int64_t count) {
  if (count >= 64) {
    _mm512_storeu_si512(p, bytes);
    return;
  }
  __m256i half = _mm512_castsi512_si256(bytes);
  if (count & 32) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), half);
    half = _mm512_extracti64x4_epi64(bytes, 1);
    p += 32;
  }
  __m128i quarter = _mm256_castsi256_si128(half);
  if (count & 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), quarter);
    quarter = _mm256_extracti128_si256(half, 1);
    p += 16;
  }
  store_first(p, quarter, count & 15);
}

static PCQAT_INLINE __mmask64 first_bytes(int64_t count) { return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1; }

}  // namespace pcqat::avx512vnni
