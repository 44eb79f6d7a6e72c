// Depthwise convolution of codes: the bytes of up to four rows of a column are interleaved, so that one instruction multiplies four taps
// of 16 channels. Where the channels are few, a block of 64 is several neighbouring outputs. fused_depthwise_three.h takes most windows.
#pragma once

#include "simd/avx512vnni/fused_block.h"

namespace pcqat::avx512vnni {

static int64_t depthwise_groups(int64_t kernel_h) { return (kernel_h + 3) / 4; }

// 3×3 windows have their weights twice, the second time for a window that begins one row later.
static int64_t depthwise_copies(int64_t kernel_h, int64_t kernel_w) { return kernel_h == 3 && kernel_w == 3 ? 2 : 1; }

// For each block of 64 channels: its constants, then a group of four vectors per column and four rows of the window.
static int64_t depthwise_block_bytes(int64_t kernel_h, int64_t kernel_w) {
  return static_cast<int64_t>(sizeof(FusedBlock)) + depthwise_copies(kernel_h, kernel_w) * kernel_w * depthwise_groups(kernel_h) * 256;
}

// Channels of which several outputs fill a block.
static bool is_narrow(int64_t channels) { return channels < kFusedBlock && kFusedBlock % channels == 0; }

static int64_t fused_depthwise_bytes(int64_t channels, int64_t kernel_h, int64_t kernel_w) {
  return (channels + kFusedBlock - 1) / kFusedBlock * depthwise_block_bytes(kernel_h, kernel_w);
}

static bool pack_fused_depthwise(const int8_t* weights, const int32_t* bias, int64_t channels, int64_t kernel_h, int64_t kernel_w,
                                 const Requantization& p, void* packed) {
  char* out = static_cast<char*>(packed);
  memset(packed, 0, fused_depthwise_bytes(channels, kernel_h, kernel_w));
  for (int64_t j = 0; j < channels; j += kFusedBlock) {
    // Narrow blocks repeat their channels.
    const int64_t columns = is_narrow(channels) ? kFusedBlock : channels - j < kFusedBlock ? channels - j : kFusedBlock;
    int64_t sum[kFusedBlock] = {}, magnitude[kFusedBlock] = {};
    int8_t* packed_weights = reinterpret_cast<int8_t*>(out + sizeof(FusedBlock));
    for (int64_t position = 0; position < kFusedBlock; ++position) {
      const int64_t c = fused_channel(position, true);
      if (c >= columns) continue;
      for (int64_t ky = 0; ky < kernel_h; ++ky) {
        for (int64_t kx = 0; kx < kernel_w; ++kx) {
          const int8_t w = weights[(ky * kernel_w + kx) * channels + (j + c) % channels];
          sum[c] += w;
          magnitude[c] += w < 0 ? -w : w;
          for (int64_t copy = 0; copy < depthwise_copies(kernel_h, kernel_w); ++copy) {
            const int64_t group = (copy * kernel_w + kx) * depthwise_groups(kernel_h) + ky / 4;
            packed_weights[(group * kFusedBlock + position) * 4 + ky % 4 + copy] = w;
          }
        }
      }
    }
    if (!make_block(*reinterpret_cast<FusedBlock*>(out), j, columns, channels, true, bias, sum, magnitude, p)) return false;
    out += depthwise_block_bytes(kernel_h, kernel_w);
  }
  return true;
}

// Four taps of 64 channels.
struct Column {
  __m512i q[4];
};

static PCQAT_INLINE Column interleaved(const __m512i (&r)[4]) {
  const __m512i low01 = _mm512_unpacklo_epi8(r[0], r[1]), high01 = _mm512_unpackhi_epi8(r[0], r[1]);
  const __m512i low23 = _mm512_unpacklo_epi8(r[2], r[3]), high23 = _mm512_unpackhi_epi8(r[2], r[3]);
  return {{_mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23), _mm512_unpacklo_epi16(high01, high23),
           _mm512_unpackhi_epi16(high01, high23)}};
}

// Reads `kHeight` lines at an offset; the rest of the four are anything (their weights are 0).
template <int kHeight>
static PCQAT_INLINE Column fused_column(const int8_t* const* lines, int64_t offset) {
  const __m512i flip = _mm512_set1_epi8(-128);
  __m512i r[4] = {flip, flip, flip, flip};
#pragma GCC unroll 4
  for (int i = 0; i < kHeight; ++i) r[i] = _mm512_xor_si512(_mm512_loadu_si512(lines[i] + offset), flip);
  return interleaved(r);
}

static PCQAT_INLINE void add_column(__m512i (&sums)[4], const Column& column, const int8_t* weights) {
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) add_products(sums[q], column.q[q], _mm512_loadu_si512(weights + 64 * q));
}

static PCQAT_INLINE void start_sums(__m512i (&sums)[4], const FusedBlock& block) {
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) sums[q] = _mm512_loadu_si512(block.bias + 16 * q);
}

template <bool kRectified>
static PCQAT_INLINE void finish_sums(__m512i (&sums)[4], const FusedBlock& block, __m512i low, __m512i high, int64_t count, int8_t* out) {
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) sums[q] = fused_requantize<kRectified>(sums[q], fused_constants(block, q));
  store_first(out, fused_bytes_of(sums[0], sums[1], sums[2], sums[3], low, high), count);
}

// One block of outputs, of any window, at an offset from the start of the line.
template <bool kRectified>
static PCQAT_INLINE void depthwise_of_any(const DepthwiseRow& row, int64_t offset, int64_t count, const FusedBlock& block,
                                          const int8_t* weights, __m512i low, __m512i high, int8_t* out) {
  __m512i sums[4];
  start_sums(sums, block);
  for (int64_t kx = 0; kx < row.kernel_w; ++kx) {
    const int64_t at = row.offsets[kx] + offset;
    for (int64_t ky = 0; ky < row.kernel_h; ky += 4, weights += 256) {
      switch (row.kernel_h - ky) {
        case 1: add_column(sums, fused_column<1>(row.lines + ky, at), weights); break;
        case 2: add_column(sums, fused_column<2>(row.lines + ky, at), weights); break;
        case 3: add_column(sums, fused_column<3>(row.lines + ky, at), weights); break;
        default: add_column(sums, fused_column<4>(row.lines + ky, at), weights);
      }
    }
  }
  finish_sums<kRectified>(sums, block, low, high, count, out);
}

template <bool kRectified>
static void depthwise_row(const DepthwiseRow& row, const char* block, __m512i lows, __m512i highs, int8_t* out) {
  const int64_t values = row.out_w * row.channels;
  if (is_narrow(row.channels)) {
    const FusedBlock& constants = *reinterpret_cast<const FusedBlock*>(block);
    const int8_t* weights = reinterpret_cast<const int8_t*>(block + sizeof(FusedBlock));
    for (int64_t i = 0; i < values; i += kFusedBlock) {
      depthwise_of_any<kRectified>(row, i, values - i, constants, weights, lows, highs, out + i);
    }
    return;
  }
  for (int64_t c = 0; c < row.channels; c += kFusedBlock, block += depthwise_block_bytes(row.kernel_h, row.kernel_w)) {
    const FusedBlock& constants = *reinterpret_cast<const FusedBlock*>(block);
    const int8_t* weights = reinterpret_cast<const int8_t*>(block + sizeof(FusedBlock));
    for (int64_t i = c; i < values; i += row.channels)
      depthwise_of_any<kRectified>(row, i, row.channels - c, constants, weights, lows, highs, out + i);
  }
}

static void fused_depthwise(const DepthwiseRow& row, const void* packed, const Requantization& p, int8_t* out) {
  const __m512i low = _mm512_set1_epi8(static_cast<char>(p.low)), high = _mm512_set1_epi8(static_cast<char>(p.high));
  const auto run = is_rectified(p) ? depthwise_row<true> : depthwise_row<false>;
  run(row, static_cast<const char*>(packed), low, high, out);
}

}  // namespace pcqat::avx512vnni
