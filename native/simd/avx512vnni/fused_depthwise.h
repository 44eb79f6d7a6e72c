// Depthwise convolution of codes: the bytes of up to four rows of a column are interleaved, so that one instruction multiplies four taps
// of 16 channels. Neighbouring outputs share columns, which stay in registers for the usual windows of width 3. Where the channels are
// few, a block of 64 is several neighbouring outputs.
#pragma once

#include "simd/avx512vnni/fused_block.h"

namespace pcqat::avx512vnni {

static int64_t depthwise_groups(int64_t kernel_h) { return (kernel_h + 3) / 4; }

// For each block of 64 channels: its constants, then a group of four vectors per column and four rows of the window.
static int64_t depthwise_block_bytes(int64_t kernel_h, int64_t kernel_w) {
  return static_cast<int64_t>(sizeof(FusedBlock)) + kernel_w * depthwise_groups(kernel_h) * 256;
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
          packed_weights[((kx * depthwise_groups(kernel_h) + ky / 4) * kFusedBlock + position) * 4 + ky % 4] = w;
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

// Reads `kHeight` lines at an offset; the rest of the four are anything (their weights are 0).
template <int kHeight>
static inline Column fused_column(const int8_t* const* lines, int64_t offset, __mmask64 mask) {
  const __m512i flip = _mm512_set1_epi8(-128);
  __m512i r[4] = {flip, flip, flip, flip};
#pragma GCC unroll 4
  for (int i = 0; i < kHeight; ++i) r[i] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, lines[i] + offset), flip);
  const __m512i low01 = _mm512_unpacklo_epi8(r[0], r[1]), high01 = _mm512_unpackhi_epi8(r[0], r[1]);
  const __m512i low23 = _mm512_unpacklo_epi8(r[2], r[3]), high23 = _mm512_unpackhi_epi8(r[2], r[3]);
  return {{_mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23), _mm512_unpacklo_epi16(high01, high23),
           _mm512_unpackhi_epi16(high01, high23)}};
}

static inline void add_column(__m512i (&sums)[4], const Column& column, const int8_t* weights) {
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) add_products(sums[q], column.q[q], _mm512_loadu_si512(weights + 64 * q));
}

static inline void start_sums(__m512i (&sums)[4], const FusedBlock& block) {
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) sums[q] = _mm512_loadu_si512(block.bias + 16 * q);
}

template <bool kRectified>
static inline void finish_sums(__m512i (&sums)[4], const FusedBlock& block, __m512i low, __m512i high, int64_t count, int8_t* out) {
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) sums[q] = fused_requantize<kRectified>(sums[q], fused_constants(block, q));
  store_first(out, fused_bytes_of(sums[0], sums[1], sums[2], sums[3], low, high), count);
}

// 3×3 windows without dilation and with a stride of 1 or 2: the next output sees the last column, or columns, again.
template <bool kRectified, int kStride>
static void depthwise_of_three(const DepthwiseRow& row, int64_t channel, int64_t count, const FusedBlock& block, const int8_t* weights,
                               __m512i low, __m512i high, int8_t* out) {
  const int8_t* const* lines = row.lines;
  const int64_t *offsets = row.offsets, step = row.channels;
  const __mmask64 mask = first_bytes(count);
  Column first = fused_column<3>(lines, offsets[0] + channel, mask), second = fused_column<3>(lines, offsets[1] + channel, mask);
  for (int64_t x = 0; x < row.out_w; ++x, channel += step, out += step) {
    const Column third = fused_column<3>(lines, offsets[2] + channel, mask);
    __m512i sums[4];
    start_sums(sums, block);
    add_column(sums, first, weights);
    add_column(sums, second, weights + 256);
    add_column(sums, third, weights + 512);
    finish_sums<kRectified>(sums, block, low, high, count, out);
    first = kStride == 1 ? second : third;
    if (x + 1 < row.out_w) second = kStride == 1 ? third : fused_column<3>(lines, offsets[1] + channel + step, mask);
  }
}

// One block of outputs, of any window, at an offset from the start of the line.
template <bool kRectified>
static inline void depthwise_of_any(const DepthwiseRow& row, int64_t offset, int64_t count, const FusedBlock& block, const int8_t* weights,
                                    __m512i low, __m512i high, int8_t* out) {
  const __mmask64 mask = first_bytes(count);
  __m512i sums[4];
  start_sums(sums, block);
  for (int64_t kx = 0; kx < row.kernel_w; ++kx) {
    const int64_t at = row.offsets[kx] + offset;
    for (int64_t ky = 0; ky < row.kernel_h; ky += 4, weights += 256) {
      switch (row.kernel_h - ky) {
        case 1: add_column(sums, fused_column<1>(row.lines + ky, at, mask), weights); break;
        case 2: add_column(sums, fused_column<2>(row.lines + ky, at, mask), weights); break;
        case 3: add_column(sums, fused_column<3>(row.lines + ky, at, mask), weights); break;
        default: add_column(sums, fused_column<4>(row.lines + ky, at, mask), weights);
      }
    }
  }
  finish_sums<kRectified>(sums, block, low, high, count, out);
}

// 3×3 windows of 32 channels with a stride of 1: a block is two outputs, whose last column is the first of the next two.
template <bool kRectified>
static void depthwise_of_pairs(const DepthwiseRow& row, const FusedBlock& block, const int8_t* weights, __m512i low, __m512i high,
                               int8_t* out) {
  const int64_t values = row.out_w * row.channels;
  Column first = fused_column<3>(row.lines, row.offsets[0], first_bytes(values));
  for (int64_t i = 0; i < values; i += kFusedBlock) {
    const __mmask64 mask = first_bytes(values - i);
    const Column second = fused_column<3>(row.lines, row.offsets[1] + i, mask);
    const Column third = fused_column<3>(row.lines, row.offsets[2] + i, mask);
    __m512i sums[4];
    start_sums(sums, block);
    add_column(sums, first, weights);
    add_column(sums, second, weights + 256);
    add_column(sums, third, weights + 512);
    finish_sums<kRectified>(sums, block, low, high, values - i, out + i);
    first = third;
  }
}

template <bool kRectified>
static void depthwise_row(const DepthwiseRow& row, const char* block, __m512i lows, __m512i highs, int8_t* out) {
  const int64_t values = row.out_w * row.channels;
  const int64_t stride = row.kernel_w == 3 && row.kernel_h == 3 && row.dilation_w == 1 ? row.stride_w : 0;
  if (is_narrow(row.channels)) {
    const FusedBlock& constants = *reinterpret_cast<const FusedBlock*>(block);
    const int8_t* weights = reinterpret_cast<const int8_t*>(block + sizeof(FusedBlock));
    if (stride == 1 && row.channels == kFusedBlock / 2) {
      depthwise_of_pairs<kRectified>(row, constants, weights, lows, highs, out);
      return;
    }
    for (int64_t i = 0; i < values; i += kFusedBlock) {
      depthwise_of_any<kRectified>(row, i, values - i, constants, weights, lows, highs, out + i);
    }
    return;
  }
  for (int64_t c = 0; c < row.channels; c += kFusedBlock, block += depthwise_block_bytes(row.kernel_h, row.kernel_w)) {
    const int64_t count = row.channels - c;
    const FusedBlock& constants = *reinterpret_cast<const FusedBlock*>(block);
    const int8_t* weights = reinterpret_cast<const int8_t*>(block + sizeof(FusedBlock));
    if (stride == 1) {
      depthwise_of_three<kRectified, 1>(row, c, count, constants, weights, lows, highs, out + c);
    } else if (stride == 2) {
      depthwise_of_three<kRectified, 2>(row, c, count, constants, weights, lows, highs, out + c);
    } else {
      for (int64_t i = c; i < values; i += row.channels)
        depthwise_of_any<kRectified>(row, i, count, constants, weights, lows, highs, out + i);
    }
  }
}

static void fused_depthwise(const DepthwiseRow& row, const void* packed, const Requantization& p, int8_t* out) {
  const __m512i low = _mm512_set1_epi8(static_cast<char>(p.low)), high = _mm512_set1_epi8(static_cast<char>(p.high));
  const auto run = is_rectified(p) ? depthwise_row<true> : depthwise_row<false>;
  run(row, static_cast<const char*>(packed), low, high, out);
}

}  // namespace pcqat::avx512vnni
