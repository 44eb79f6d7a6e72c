// The int8 kernels of one instruction set. All results are exact integers, so they are the same on every one of them.
// Sums are taken modulo 2^32, as TFLite's are.
#pragma once

#include <cstdint>

namespace pcqat {

// Output channels are handled in blocks; arrays per channel are padded to a multiple of this.
constexpr int64_t kInt8Block = 32;
// Kernels may read this many bytes beyond the end of an activation.
constexpr int64_t kInt8Overread = 64;

// How TFLite turns an accumulator into a quantized value: multiply by `multiplier / 2^31 · 2^shift` with rounding after
// the multiplication and again after the right shift ("double rounding"). Arrays are padded to kInt8Block.
struct Requantization {
  const int32_t* multiplier;
  const int32_t* left_shift;
  const int32_t* right_shift;
  int32_t zero_point;
  int32_t low, high;  // bounds of the (fused) activation
};

// One row of outputs of a depthwise convolution, all channels; kInt8Overread bytes beyond a line may be read. Tap (ky, kx) of output x is
// at lines[ky] + offsets[kx] + x · channels: lines are padded, and split into one part per column of a stride, so that neighbouring outputs
// are neighbours there too.
struct DepthwiseRow {
  const int8_t* const* lines;
  const int64_t* offsets;
  int64_t kernel_h, kernel_w, stride_w, dilation_w, out_w, channels;
};

// An image and how a depthwise convolution with a 3×3 window without dilation sees it; stride_w is 1 or 2.
struct DepthwiseImage {
  const int8_t* input;
  const int8_t* outside;  // as long as a row of the input, all zero points; kInt8Overread bytes beyond either may be read
  int64_t in_h, in_w, out_w, channels, stride_h, stride_w, pad_top, pad_left;
};

// The left factor of a product: row i is `segments` runs of `taps` neighbouring codes, the s-th from start + i · stride + offsets[s] on.
// So a convolution's windows are multiplied where they lie. Up to 3 codes beyond a run are read (and multiplied by 0).
struct CodeRows {
  const int8_t* start;
  int64_t count, stride;
  const int64_t* offsets;
  int64_t segments, taps;
};

// Operations that requantize while their sums are in registers. The constants of the requantization are packed with the weights;
// packing fails, and the caller takes the plain kernels, where the numbers do not fit the shorter arithmetic (see its implementation).
struct FusedInt8Kernels {
  // As Int8Kernels::pack and matmul for weights [n][segments · taps], but out[i·ldc + j] is the requantized code. The first j columns, a
  // multiple of kColumns, take the first packed_bytes(j, ...) bytes, so that a product can begin at any such column.
  static constexpr int64_t kColumns = 64;
  int64_t (*packed_bytes)(int64_t n, int64_t segments, int64_t taps);
  bool (*pack)(const int8_t* weights, const int32_t* bias, int64_t n, int64_t segments, int64_t taps, const Requantization& parameters,
               void* packed);
  void (*matmul)(const CodeRows& rows, const void* packed, int64_t n, const Requantization& parameters, int8_t* out, int64_t ldc);
  // Weights are [tap][channel], taps row by row.
  int64_t (*depthwise_bytes)(int64_t channels, int64_t kernel_h, int64_t kernel_w);
  bool (*pack_depthwise)(const int8_t* weights, const int32_t* bias, int64_t channels, int64_t kernel_h, int64_t kernel_w,
                         const Requantization& parameters, void* packed);
  void (*depthwise)(const DepthwiseRow& row, const void* packed, const Requantization& parameters, int8_t* out);
  // Rows [first, last) of the outputs, which begin at `out`, of at least kFewestChannels channels.
  static constexpr int64_t kFewestChannels = 8;
  void (*depthwise_three)(const DepthwiseImage& image, int64_t first, int64_t last, const void* packed, const Requantization& parameters,
                          int8_t* out);
};

struct Int8Kernels {
  // Size and layout of the weights `[n][k]` of a matrix product are private to the instruction set. `bias[n]` goes in too.
  int64_t (*packed_bytes)(int64_t n, int64_t k);
  void (*pack)(const int8_t* weights, const int32_t* bias, int64_t n, int64_t k, void* packed);
  // acc[i·ldc + j] = bias[j] + Σ_t a[i·lda + t]·w[j][t] for i < m, j < n. ldc is at least n rounded up to kInt8Block.
  void (*matmul)(const int8_t* a, int64_t m, int64_t lda, const void* packed, int64_t n, int64_t k, int32_t* acc, int64_t ldc);
  // acc[c] = bias[c] + Σ_t taps[t][c]·w[t·channels + c].
  void (*depthwise)(const int8_t* const* taps, int64_t tap_count, const int32_t* weights, const int32_t* bias, int64_t channels,
                    int32_t* acc);
  // acc[c] = Σ_i x[i·channels + c] for i < count.
  void (*sum_rows)(const int8_t* x, int64_t count, int64_t channels, int32_t* acc);
  // out[c] = clamp(zero_point + rounded(acc[c])). acc is padded to kInt8Block; exactly n bytes are written.
  void (*requantize)(const int32_t* acc, int64_t n, const Requantization& parameters, int8_t* out);
  const FusedInt8Kernels* fused;  // null: none on this instruction set
};

}  // namespace pcqat
