// The f32 kernels of one instruction set: single-threaded inner loops. Chunking, packing and reductions over chunks are
// in ops/. Matrices are row-major; strides and sizes count floats.
#pragma once

#include <stdint.h>

namespace pcqat {

// Memory that will be read or written after what is computed now.
struct Upcoming {
  const float* data = nullptr;
  int64_t floats = 0;
};

// c[m,n] (+)= a[m,k] · b[k,n], then bias and clamp to [low, high].
// a(i,l) = a[i * a_row + l * a_k], so a transposed operand is read in place.
// b is read in panels of `gemm_columns` columns: b(l, j) = b[(j / columns) * b_panel + l * b_k + j % columns]; that is a
// row-major matrix (b_k = its row stride, b_panel = columns) or a packed one (b_k = columns, b_panel = k * columns).
struct GemmBlock {
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_k;
  const float* b;
  int64_t b_k, b_panel;
  bool b_padded;  // the last panel may be read in full width
  float* c;
  int64_t c_row;
  bool accumulate;
  const float* bias;  // null: none
  float low, high;
  // With several parts, a row of a is that many stretches of part_k floats, a_part apart: the rows of a window in an image. Then a_k is 1,
  // b is padded, and k = parts part_k at most 320.
  int64_t parts = 1, part_k = 0, a_part = 0;
  // What is fetched into the cache meanwhile; without floats, nothing. Null: what follows a, and what follows c or, where a is a transpose,
  // b. A hint only: a processor may ignore it.
  Upcoming instead_of_a{}, instead_of_b{};
  bool stream = false;  // write c past the cache, where lines of it are whole; a hint only
  // Products of codes only (simd/product_kernels.h): c = (sum - correction[j]) * scale[j], before the bias.
  const float* scale = nullptr;
  const int32_t* correction = nullptr;
};

// Where rows of channels are written, in blocks of `gemm_columns` channels: channel c of row i lies at
// data[c / gemm_columns * block + i * row + c % gemm_columns]. That is a plain matrix with row = channels and block = gemm_columns.
// Rows may form lines of `length` rows, which begin `line` floats apart.
struct RowBlocks {
  float* data;
  int64_t row, block;
  int64_t length = INT64_MAX, line = 0;
};

// Output pixels of a depthwise convolution that use the same `taps` of the kernel: `rows` of `pixels`, y_row and y_step apart. x_offset[t]
// counts from the first of them, weights lie at kernel + w_offset[t].
struct DepthwiseSpan {
  int64_t channels, pixels, rows, taps;
  const int64_t* x_offset;
  const int64_t* w_offset;
  int64_t x_step, y_step;
  int64_t x_row, y_row;
  Upcoming upcoming[2]{};  // fetched into the cache meanwhile; a hint only
};

// What ends a forward pass: clamp to [low, high] (activation and range of the fake quantization at once), then, with
// `quantize`, y = floor((v - min) / scale - zero_code + 0.5) * scale, every operation rounded (spec 3.5).
struct Finish {
  float low, high;
  bool quantize;
  float min, scale, zero_code;
};

// Gradients pass where low <= v <= high.
struct PassInterval {
  float low, high;
};

enum class UnaryFunction { sigmoid, tanh, hard_swish, leaky_relu };

struct Unary {
  UnaryFunction function;
  float alpha;  // leaky_relu: the slope below 0
};

struct ChannelSums {
  double* sum;      // Σ (x - shift)
  double* squares;  // Σ (x - shift)²
  float* low;
  float* high;
};

struct ChannelMoments {
  double* mean;
  double* deviation;  // Σ (x - mean)²
  float* low;
  float* high;
};

struct AdamConstants {
  float gradient_scale, clip_value, decay;  // decay = learning rate * weight decay
  float one_minus_beta1, one_minus_beta2, alpha, epsilon;
  bool masks_weight;
};

struct SgdConstants {
  float gradient_scale, clip_value, weight_decay, learning_rate, momentum;
  bool nesterov;
  bool masks_weight;
};

struct F32Kernels {
  int lanes;         // floats in a vector
  int gemm_rows;     // register tile of the matrix product
  int gemm_columns;  // a whole number of vectors

  void (*gemm)(const GemmBlock& block);
  // `columns` (at most gemm_columns) columns of b, k rows of them `b_k` apart, as a panel; columns that are missing are 0.
  void (*pack_panel)(int64_t k, int64_t columns, const float* b, int64_t b_k, float* panel);
  // The same of a b whose transpose is stored, columns `b_column` apart.
  void (*pack_transposed)(int64_t k, int64_t columns, const float* b, int64_t b_column, float* panel);
  // sum[j] = Σ_i x[i, j]
  void (*column_sums)(int64_t rows, int64_t columns, const float* x, float* sum);

  // y = clamp(bias + Σ_t x · kernel); bias may be null.
  void (*depthwise)(const DepthwiseSpan& span, const float* x, const float* kernel, const float* bias, float low, float high, float* y);
  // d_kernel += Σ_pixels x · dy
  void (*depthwise_gradient)(const DepthwiseSpan& span, const float* x, const float* dy, float* d_kernel);

  // Overwrites `sums`, or with `add` goes on with them.
  void (*channel_statistics)(int64_t rows, int64_t channels, const float* x, const float* shift, bool add, const ChannelSums& sums);
  // Adds a part of `count` values a channel to the moments of `before` values.
  void (*merge_moments)(int64_t channels, double before, double count, const float* shift, const ChannelSums& part,
                        const ChannelMoments& all);
  // y = finish(fma(x, scale, shift)) with per-channel scale and shift.
  void (*scale_shift)(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, const Finish& finish,
                      const RowBlocks& y);
  // With g = dy where fma(x, scale, shift) is in the interval, else 0: sum += Σ g, product += Σ g (x - mean).
  void (*norm_gradient_sums)(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, const float* mean,
                             const PassInterval& pass, const float* dy, double* sum, double* product);
  // dx = scale * g + slope * (x - mean) + offset
  void (*norm_gradient)(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, const float* mean,
                        const PassInterval& pass, const float* slope, const float* offset, const float* dy, const RowBlocks& dx);

  // b may be null; v = a + b.
  void (*extremes)(int64_t count, const float* a, const float* b, float* low, float* high);
  void (*finish)(int64_t count, const float* a, const float* b, const Finish& finish, float* y);
  void (*pass_gradient)(int64_t count, const float* a, const float* b, const PassInterval& pass, const float* dy, float* dx);
  void (*add)(int64_t count, const float* term, float* sum);                       // sum += term
  void (*add_scaled)(int64_t count, float factor, const float* term, float* sum);  // sum += factor * term
  void (*scale)(int64_t count, float factor, float* x);                            // x *= factor
  void (*maximum)(int64_t count, const float* x, float* y);                        // y = max(y, x)
  void (*multiply)(int64_t count, const float* a, const float* b, float* y);       // y = a b
  // y = finish(f(x))
  void (*unary)(int64_t count, const Unary& f, const float* x, const Finish& finish, float* y);
  // y = f(x), and the extremes of y; count > 0.
  void (*unary_extremes)(int64_t count, const Unary& f, const float* x, float* y, float* low, float* high);
  // dx = dy f'(x) where f(x) is in the interval, else 0
  void (*unary_gradient)(int64_t count, const Unary& f, const float* x, const PassInterval& pass, const float* dy, float* dx);
  bool (*all_finite)(int64_t count, float factor, const float* x);  // of factor * x
  double (*sum_of_squares)(int64_t count, const float* x);

  // mask: weight decay applies where 1; null: everywhere. With `masks_weight` the weight first becomes 0 where it is 0.
  void (*adam)(int64_t count, const AdamConstants& constants, const uint8_t* mask, const float* gradient, float* m, float* v,
               float* weight);
  void (*sgd)(int64_t count, const SgdConstants& constants, const uint8_t* mask, const float* gradient, float* velocity, float* weight);
};

}  // namespace pcqat
