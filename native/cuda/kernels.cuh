// Device kernels. They take device pointers only, so that a training step on the GPU can use them as they are.
// Compiled with --fmad=false: rounding is part of the contract.
#pragma once

#include "compression/fake_quant.h"
#include "compression/nearest.h"
#include "compression/segment_sum.h"
#include "simd/compression_kernels.h"

namespace pcqat::cuda {

constexpr int kThreads = 256;
// Thresholds of a shared codebook that are worth copying into shared memory: 16 KiB.
constexpr int64_t kSharedThresholds = 4095;
// Above this many centroids per channel, comparing with every threshold costs more than the exact search.
constexpr int64_t kCountedCentroids = 64;

__device__ inline int64_t global_index() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t global_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

__global__ void apply_mask_kernel(int64_t size, const uint8_t* mask, float* w) {
  for (int64_t i = global_index(); i < size; i += global_stride()) w[i] = mask[i] ? w[i] : 0.0f;
}

// Shared codebook. Dynamic shared memory: the thresholds, if there are at most kSharedThresholds.
__global__ void assign_kernel(int64_t size, const float* w, Codebook book, int32_t* indices) {
  extern __shared__ float cached[];
  const bool use_cache = book.padded <= kSharedThresholds;
  if (use_cache) {
    for (int64_t t = threadIdx.x; t < book.padded; t += blockDim.x) cached[t] = book.thresholds[t];
    __syncthreads();
  }
  const float* thresholds = use_cache ? cached : book.thresholds;
  const float limit = book.limit[0];
  for (int64_t i = global_index(); i < size; i += global_stride()) {
    const float value = w[i];
    if (!(fabsf(value) <= limit)) {
      indices[i] = nearest_in_codebook(book, 0, value);
      continue;
    }
    int64_t position = 0;
    for (int64_t step = (book.padded + 1) / 2; step > 0; step /= 2) {
      if (value >= thresholds[position + step - 1]) position += step;
    }
    indices[i] = book.order[position];
  }
}

__global__ void assign_channels_kernel(int64_t size, const float* w, Codebook book, int32_t* indices) {
  for (int64_t i = global_index(); i < size; i += global_stride()) {
    const float value = w[i];
    const int64_t channel = i % book.channels;
    if (book.k > kCountedCentroids || !(fabsf(value) <= book.limit[channel])) {
      indices[i] = nearest_in_codebook(book, channel, value);
      continue;
    }
    int64_t position = 0;
    for (int64_t t = 0; t < book.k - 1; ++t) position += value >= book.thresholds[t * book.channels + channel];
    indices[i] = book.order[channel * book.k + position];
  }
}

__global__ void gather_kernel(int64_t size, const int32_t* indices, const float* centroids, int64_t k, int64_t channels, float* out) {
  for (int64_t i = global_index(); i < size; i += global_stride()) {
    out[i] = centroids[(channels == 0 ? 0 : i % channels * k) + indices[i]];
  }
}

// One block of kSegmentLanes threads per block of the sum; thread = lane. `partials` is [blocks, k, lanes], zeroed.
// The result of block b is its first k floats.
__global__ void segment_sum_kernel(int64_t size, int64_t per_block, const int32_t* indices, const float* x, int64_t k, float* partials) {
  const int64_t begin = blockIdx.x * per_block, end = begin + per_block < size ? begin + per_block : size;
  float* sums = partials + blockIdx.x * k * kSegmentLanes;
  for (int64_t i = begin + threadIdx.x; i < end; i += kSegmentLanes) sums[indices[i] * kSegmentLanes + threadIdx.x] += x[i];
  __syncthreads();
  for (int64_t j = 0; j < k; ++j) {
    float* lanes = sums + j * kSegmentLanes;
    for (int64_t half = kSegmentLanes / 2; half > 0; half /= 2) {
      if (threadIdx.x < half) lanes[threadIdx.x] += lanes[threadIdx.x + half];
      __syncthreads();
    }
    if (threadIdx.x == 0) sums[j] = lanes[0];
    __syncthreads();
  }
}

// Thread = channel, grid.y = block of rows. `partials` is [blocks, channels, k], zeroed.
__global__ void segment_sum_channels_kernel(int64_t rows, int64_t rows_per_block, const int32_t* indices, const float* x, int64_t k,
                                            int64_t channels, float* partials) {
  const int64_t channel = global_index();
  if (channel >= channels) return;
  const int64_t begin = blockIdx.y * rows_per_block, end = begin + rows_per_block < rows ? begin + rows_per_block : rows;
  float* sums = partials + (blockIdx.y * channels + channel) * k;
  for (int64_t row = begin; row < end; ++row) sums[indices[row * channels + channel]] += x[row * channels + channel];
}

// Blocks are added in order, in double, as on the CPU. counts may be null.
__global__ void segment_reduce_kernel(const float* partials, int64_t blocks, int64_t stride, int64_t size, const int32_t* counts,
                                      float* out) {
  const int64_t j = global_index();
  if (j >= size) return;
  double sum = 0;
  for (int64_t block = 0; block < blocks; ++block) sum += partials[block * stride + j];
  float result = static_cast<float>(sum);
  if (counts != nullptr) result = counts[j] == 0 ? 0.0f : result / static_cast<float>(counts[j]);
  out[j] = result;
}

// Maxima of non-negative floats compare like their bits; a maximum has no order. out is zeroed, one per channel or one.
// The grid has at least as many threads as there are channels.
__global__ void max_abs_kernel(int64_t size, const float* x, int64_t channels, int32_t* out) {
  // Steps of whole rows, so that a thread stays with its channel.
  const int64_t stride = channels == 0 ? global_stride() : global_stride() / channels * channels;
  if (global_index() >= stride) return;
  float best = 0;
  for (int64_t i = global_index(); i < size; i += stride) best = fmaxf(best, fabsf(x[i]));
  atomicMax(out + (channels == 0 ? 0 : global_index() % channels), __float_as_int(best));
}

template <bool multiply>
__device__ float quantized(float x, float min, float max, float scale, float inverse, float zero_code) {
  x = x > max ? max : x;  // NaN passes both comparisons and stays NaN
  x = x < min ? min : x;
  const float code = multiply ? (x - min) * inverse : (x - min) / scale;
  return floorf(code - zero_code + 0.5f) * scale;
}

__global__ void fake_quantize_kernel(int64_t size, const float* x, NudgedRange r, float* out) {
  for (int64_t i = global_index(); i < size; i += global_stride()) {
    out[i] = r.is_nan ? NAN : r.is_zero ? 0.0f : quantized<false>(x[i], r.min, r.max, r.scale, r.inverse_scale, r.zero_code);
  }
}

__global__ void fake_quantize_channels_kernel(int64_t size, int64_t channels, const float* x, ChannelRanges r, float* out) {
  for (int64_t i = global_index(); i < size; i += global_stride()) {
    const int64_t c = i % channels;
    if (r.kind[c] == ChannelRanges::normal)
      out[i] = quantized<true>(x[i], r.min[c], r.max[c], r.scale[c], r.inverse_scale[c], r.zero_code[c]);
    else
      out[i] = r.kind[c] == ChannelRanges::zero ? 0.0f : NAN;
  }
}

__global__ void fake_quantize_gradient_kernel(int64_t size, const float* dy, const float* x, NudgedRange r, float* dx) {
  for (int64_t i = global_index(); i < size; i += global_stride()) {
    const bool inside = r.is_zero || (!r.is_nan && x[i] >= r.min && x[i] <= r.max);
    dx[i] = inside ? dy[i] : 0.0f;
  }
}

__global__ void fake_quantize_gradient_channels_kernel(int64_t size, int64_t channels, const float* dy, const float* x, ChannelRanges r,
                                                       float* dx) {
  for (int64_t i = global_index(); i < size; i += global_stride()) {
    const int64_t c = i % channels;
    const bool inside = r.kind[c] == ChannelRanges::zero || (r.kind[c] == ChannelRanges::normal && x[i] >= r.min[c] && x[i] <= r.max[c]);
    dx[i] = inside ? dy[i] : 0.0f;
  }
}

}  // namespace pcqat::cuda
