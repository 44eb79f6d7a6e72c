// Depthwise convolution of codes with 3×3 windows, without dilation and with a stride of 1 or 2, that reads the image where it lies. Two
// rows of outputs share the interleaved bytes of four rows of the input: the weights of the second row are packed one byte further.
#pragma once

#include "simd/avx512vnni/fused_depthwise.h"

namespace pcqat::avx512vnni {

// The rows of the input under one or two rows of outputs.
struct ThreeLines {
  const int8_t* line[4];
  int64_t width;    // bytes
  __m512i outside;  // 64 times the zero point

  // Which of 64 bytes at an offset are inside.
  PCQAT_INLINE __mmask64 inside(int64_t offset) const {
    if (offset <= -64 || offset >= width) return 0;
    return first_bytes(width - offset) & ~__mmask64{0} << (offset < 0 ? -offset : 0);
  }
  PCQAT_INLINE __m512i load(int i, int64_t offset, __mmask64 mask) const { return _mm512_mask_loadu_epi8(outside, mask, line[i] + offset); }
};

// A vector for several uses. The compiler would read it from memory for each, and loads are what these loops have most of.
static PCQAT_INLINE void keep_in_register(__m512i& v) { __asm__("" : "+v"(v)); }

static PCQAT_INLINE __m512i flipped(__m512i bytes) { return _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)); }

// Outputs of one block of a row, or of two, whose three columns are there.
template <bool kRectified, int kRows>
static PCQAT_INLINE void finish_three(const Column& first, const Column& second, const Column& third, const FusedBlock& block,
                                      const int8_t* weights, __m512i low, __m512i high, int64_t count, int8_t* out, int64_t out_stride) {
  __m512i sums[kRows][4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    __m512i bias = _mm512_loadu_si512(block.bias + 16 * q);
    keep_in_register(bias);
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) sums[r][q] = bias;
  }
#pragma GCC unroll 2
  for (int r = 0; r < kRows; ++r) {
    add_column(sums[r], first, weights + 768 * r);
    add_column(sums[r], second, weights + 768 * r + 256);
    add_column(sums[r], third, weights + 768 * r + 512);
  }
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    FusedConstants c = fused_constants(block, q);
    if constexpr (kRows > 1) {
      keep_in_register(c.multiplier);
      keep_in_register(c.odd_multiplier);
      keep_in_register(c.round);
      keep_in_register(c.shift);
    }
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) sums[r][q] = fused_requantize<kRectified>(sums[r][q], c);
  }
#pragma GCC unroll 2
  for (int r = 0; r < kRows; ++r)
    store_first(out + r * out_stride, fused_bytes_of(sums[r][0], sums[r][1], sums[r][2], sums[r][3], low, high), count);
}

// Up to 64 channels from `channel` on: a block is one output, and the next output sees the last column, or columns, again.
template <bool kRectified, int kStride, int kRows>
static void three_of_many(const DepthwiseImage& image, const ThreeLines& lines, int64_t channel, const char* packed, __m512i low,
                          __m512i high, int8_t* out, int64_t out_stride) {
  const FusedBlock& block = *reinterpret_cast<const FusedBlock*>(packed);
  const int8_t* weights = reinterpret_cast<const int8_t*>(packed + sizeof(FusedBlock));
  const int64_t channels = image.channels, count = channels - channel, in_w = image.in_w, out_w = image.out_w;
  const int8_t* const line[4] = {lines.line[0], lines.line[1], lines.line[2], lines.line[3]};
  const __m512i zero = flipped(lines.outside);
  int64_t x = -image.pad_left;
  const auto next = [&]() PCQAT_INLINE_LAMBDA -> Column {
    const int64_t at = x++;
    if (at < 0 || at >= in_w) return {{zero, zero, zero, zero}};
    __m512i r[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) r[i] = i < 2 + kRows ? flipped(_mm512_loadu_si512(line[i] + at * channels + channel)) : zero;
    return interleaved(r);
  };
  Column first = next(), second = next();
  for (int64_t i = 0; i < out_w; ++i) {
    const Column third = next();
    finish_three<kRectified, kRows>(first, second, third, block, weights, low, high, count, out + i * channels + channel, out_stride);
    first = kStride == 1 ? second : third;
    second = kStride == 1 ? third : i + 1 < out_w ? next() : third;
  }
}

// A column one or two pixels further, from the block and the next one. Interleaving does not leave a lane of 16 bytes.
template <int kChannels, int kPixels>
static PCQAT_INLINE Column further(const Column& block, const Column& next) {
  constexpr int kBytes = kChannels * kPixels;
  if constexpr (kBytes == 64) return next;
  Column result;
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    if constexpr (kBytes == 8)
      result.q[q] = q < 2 ? block.q[q + 2] : _mm512_alignr_epi64(next.q[q - 2], block.q[q - 2], 2);
    else
      result.q[q] = _mm512_alignr_epi64(next.q[q], block.q[q], kBytes / 8 % 8);
  }
  return result;
}

// Pixels 0, 2, 4, ... (or 1, 3, 5, ...: kFirst = 1) of 128 bytes.
template <int kChannels, int kFirst>
static PCQAT_INLINE __m512i every_other(__m512i a, __m512i b) {
  constexpr int kWords = kChannels / 8;
  constexpr auto word = [](int i) { return (i / kWords * 2 + kFirst) * kWords + i % kWords; };
  return _mm512_permutex2var_epi64(a, _mm512_setr_epi64(word(0), word(1), word(2), word(3), word(4), word(5), word(6), word(7)), b);
}

// 8, 16 or 32 channels: a block is several neighbouring outputs.
template <bool kRectified, int kStride, int kRows, int kChannels>
static void three_of_few(const DepthwiseImage& image, const ThreeLines& shared_lines, const char* packed, __m512i low, __m512i high,
                         int8_t* out, int64_t out_stride) {
  const FusedBlock& block = *reinterpret_cast<const FusedBlock*>(packed);
  const int8_t* weights = reinterpret_cast<const int8_t*>(packed + sizeof(FusedBlock));
  const int64_t values = image.out_w * kChannels, before = image.pad_left * kChannels;
  const ThreeLines lines = shared_lines;  // which no store can change
  const __m512i zero = flipped(lines.outside);
  struct Columns {
    Column even, odd;  // with a stride of 1: `even` is all
  };
  const auto columns_at = [&](int64_t i) PCQAT_INLINE_LAMBDA -> Columns {
    const int64_t offset = i * kStride - before;
    const __mmask64 mask = lines.inside(offset), next_mask = lines.inside(offset + 64);
    __m512i even[4] = {zero, zero, zero, zero}, odd[4] = {zero, zero, zero, zero};
#pragma GCC unroll 4
    for (int r = 0; r < 2 + kRows; ++r) {
      even[r] = flipped(lines.load(r, offset, mask));
      if constexpr (kStride == 2) {
        const __m512i a = even[r], b = flipped(lines.load(r, offset + 64, next_mask));
        even[r] = every_other<kChannels, 0>(a, b);
        odd[r] = every_other<kChannels, 1>(a, b);
      }
    }
    return {interleaved(even), interleaved(odd)};
  };
  Columns columns = columns_at(0);
  for (int64_t i = 0; i < values; i += kFusedBlock) {
    const Columns next = columns_at(i + kFusedBlock);
    const Column second = kStride == 1 ? further<kChannels, 1>(columns.even, next.even) : columns.odd;
    const Column third = further < kChannels, kStride == 1 ? 2 : 1 > (columns.even, next.even);
    finish_three<kRectified, kRows>(columns.even, second, third, block, weights, low, high, values - i, out + i, out_stride);
    columns = next;
  }
}

template <bool kRectified, int kStride, int kRows>
static void three_rows(const DepthwiseImage& image, const ThreeLines& lines, const char* packed, __m512i low, __m512i high, int8_t* out) {
  const int64_t out_stride = image.out_w * image.channels;
  switch (image.channels) {
    case 8: three_of_few<kRectified, kStride, kRows, 8>(image, lines, packed, low, high, out, out_stride); return;
    case 16: three_of_few<kRectified, kStride, kRows, 16>(image, lines, packed, low, high, out, out_stride); return;
    case 32: three_of_few<kRectified, kStride, kRows, 32>(image, lines, packed, low, high, out, out_stride); return;
  }
  for (int64_t c = 0; c < image.channels; c += kFusedBlock, packed += depthwise_block_bytes(3, 3))
    three_of_many<kRectified, kStride, kRows>(image, lines, c, packed, low, high, out, out_stride);
}

template <bool kRectified>
static void three_image(const DepthwiseImage& image, int64_t first, int64_t last, const char* packed, __m512i low, __m512i high,
                        int8_t* out) {
  ThreeLines lines;
  lines.width = image.in_w * image.channels;
  lines.outside = _mm512_set1_epi8(image.outside[0]);
  for (int64_t y = first, rows = 0; y < last; y += rows, out += rows * image.out_w * image.channels) {
    rows = image.stride_h == 1 && image.stride_w == 1 && y + 2 <= last ? 2 : 1;
    for (int i = 0; i < 2 + rows; ++i) {
      const int64_t r = y * image.stride_h - image.pad_top + i;
      lines.line[i] = r >= 0 && r < image.in_h ? image.input + r * lines.width : image.outside;
    }
    const auto run = rows == 2             ? three_rows<kRectified, 1, 2>
                     : image.stride_w == 1 ? three_rows<kRectified, 1, 1>
                                           : three_rows<kRectified, 2, 1>;
    run(image, lines, packed, low, high, out);
  }
}

static void fused_depthwise_three(const DepthwiseImage& image, int64_t first, int64_t last, const void* packed, const Requantization& p,
                                  int8_t* out) {
  const __m512i low = _mm512_set1_epi8(static_cast<char>(p.low)), high = _mm512_set1_epi8(static_cast<char>(p.high));
  const auto run = is_rectified(p) ? three_image<true> : three_image<false>;
  run(image, first, last, static_cast<const char*>(packed), low, high, out);
}

}  // namespace pcqat::avx512vnni
