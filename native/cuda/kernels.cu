#include <algorithm>

#include "cuda/kernels.cuh"

namespace pcqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kPiece = 8192;          // weights of one partial sum, shared codebook
constexpr int64_t kPieceRows = 512;       // rows of one partial sum, codebook per channel
constexpr int64_t kSharedThresholds = 8192;  // 32 KiB; a longer table is searched in global memory

// One thread per element, grid-stride.
int blocks_for(int64_t size) { return static_cast<int>(std::min<int64_t>((size + kThreads - 1) / kThreads, 65535)); }

#define PCQAT_FOR_EACH(i, size) \
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < (size); i += gridDim.x * static_cast<int64_t>(blockDim.x))

__global__ void apply_mask_kernel(int64_t size, float* weight, const uint8_t* mask) {
  PCQAT_FOR_EACH(i, size) {
    if (mask[i] == 0) weight[i] = 0.0f;
  }
}

// Thresholds are padded to 2^n - 1 with infinity, so the search is n steps without a branch.
__global__ void assign_shared_kernel(int64_t size, const float* weight, SearchTable table, int32_t* indices, bool stage) {
  extern __shared__ float staged[];
  const float* thresholds = table.thresholds;
  if (stage) {
    for (int64_t i = threadIdx.x; i < table.padded; i += blockDim.x) staged[i] = table.thresholds[i];
    __syncthreads();
    thresholds = staged;
  }
  const float limit = table.limit[0];
  PCQAT_FOR_EACH(i, size) {
    const float w = weight[i];
    if (!(fabsf(w) <= limit)) {
      indices[i] = -1;
      continue;
    }
    int64_t position = 0;
    for (int64_t half = (table.padded + 1) / 2; half > 0; half /= 2) {
      if (w >= thresholds[position + half - 1]) position += half;
    }
    indices[i] = table.order[position];
  }
}

// Neighbouring threads have neighbouring channels, so each step of the search reads one contiguous row.
__global__ void assign_channels_kernel(int64_t size, const float* weight, SearchTable table, int32_t* indices) {
  PCQAT_FOR_EACH(i, size) {
    const int64_t channel = i % table.channels;
    const float w = weight[i];
    if (!(fabsf(w) <= table.limit[channel])) {
      indices[i] = -1;
      continue;
    }
    int64_t low = 0, high = table.k - 1;  // count of thresholds <= w
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (w >= table.thresholds[middle * table.channels + channel]) low = middle + 1;
      else high = middle;
    }
    indices[i] = table.order[channel * table.k + low];
  }
}

__global__ void gather_kernel(int64_t size, const int32_t* indices, const float* centroids, int64_t k, int64_t channels, float* out) {
  PCQAT_FOR_EACH(i, size) {
    const int64_t row = channels == 0 ? 0 : i % channels;
    out[i] = centroids[row * k + indices[i]];
  }
}

__global__ void fake_quantize_kernel(int64_t size, const float* x, RangeTable range, float* out) {
  PCQAT_FOR_EACH(i, size) {
    const int64_t c = range.channels == 0 ? 0 : i % range.channels;
    if (range.kind[c] != 0) {
      out[i] = range.kind[c] == 1 ? 0.0f : __int_as_float(0x7fc00000);
      continue;
    }
    float v = x[i];  // NaN passes both comparisons and stays NaN
    if (v > range.max[c]) v = range.max[c];
    if (v < range.min[c]) v = range.min[c];
    v = v - range.min[c];
    const float code = range.channels == 0 ? v / range.scale[c] : v * range.inverse_scale[c];
    out[i] = floorf(code - range.zero_code[c] + 0.5f) * range.scale[c];
  }
}

__global__ void fake_quantize_gradient_kernel(int64_t size, const float* dy, const float* x, RangeTable range, float* dx) {
  PCQAT_FOR_EACH(i, size) {
    const int64_t c = range.channels == 0 ? 0 : i % range.channels;
    const bool inside = x[i] >= range.min[c] && x[i] <= range.max[c];
    dx[i] = range.kind[c] == 1 || (range.kind[c] == 0 && inside) ? dy[i] : 0.0f;
  }
}

// Magnitudes are not negative, so their bits sort like integers and the maximum does not depend on the order.
__global__ void max_abs_kernel(int64_t size, const float* weight, int64_t channels, float* out) {
  int found = 0;
  PCQAT_FOR_EACH(i, size) {
    const float magnitude = fabsf(weight[i]);
    if (isnan(magnitude)) continue;
    if (channels > 0) atomicMax(reinterpret_cast<int*>(out + i % channels), __float_as_int(magnitude));
    else found = max(found, __float_as_int(magnitude));
  }
  if (channels == 0 && found > 0) atomicMax(reinterpret_cast<int*>(out), found);
}

// Shared codebook: one block per piece, staged in shared memory. A thread owns one cluster of one part of the piece, so each
// sum has one order and no two threads write one cell.
__global__ void segment_sum_shared_kernel(int64_t size, const int32_t* indices, const float* gradient, int64_t k, int clusters_at_once,
                                          float* partial_sum, int32_t* partial_count) {
  __shared__ float sums[kThreads];
  __shared__ int32_t counts[kThreads];
  const int parts = kThreads / clusters_at_once;
  const int part = threadIdx.x / clusters_at_once, lane = threadIdx.x % clusters_at_once;
  const int64_t begin = blockIdx.x * kPiece, length = min(kPiece, size - begin);
  const int64_t from = begin + length * part / parts, to = begin + length * (part + 1) / parts;
  for (int64_t base = 0; base < k; base += clusters_at_once) {
    float sum = 0;
    int32_t count = 0;
    for (int64_t i = from; i < to; ++i) {
      if (indices[i] == base + lane) {
        sum += gradient[i];
        ++count;
      }
    }
    sums[threadIdx.x] = sum;
    counts[threadIdx.x] = count;
    __syncthreads();
    if (part == 0 && base + lane < k) {
      for (int p = 1; p < parts; ++p) {
        sum += sums[p * clusters_at_once + lane];
        count += counts[p * clusters_at_once + lane];
      }
      partial_sum[blockIdx.x * k + base + lane] = sum;
      partial_count[blockIdx.x * k + base + lane] = count;
    }
    __syncthreads();
  }
}

// Codebook per channel: one thread per channel and piece of rows adds into cells that only it writes.
__global__ void segment_sum_channels_kernel(int64_t rows, const int32_t* indices, const float* gradient, int64_t k, int64_t channels,
                                            float* partial_sum, int32_t* partial_count) {
  const int64_t channel = blockIdx.y * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (channel >= channels) return;
  const int64_t begin = blockIdx.x * kPieceRows, end = min(begin + kPieceRows, rows);
  const int64_t cell = (blockIdx.x * channels + channel) * k;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t i = row * channels + channel;
    partial_sum[cell + indices[i]] += gradient[i];
    partial_count[cell + indices[i]] += 1;
  }
}

__global__ void reduce_pieces_kernel(int64_t cells, int64_t pieces, const float* partial_sum, const int32_t* partial_count, bool average,
                                     float* out) {
  PCQAT_FOR_EACH(i, cells) {
    float sum = 0;
    int32_t count = 0;
    for (int64_t p = 0; p < pieces; ++p) {
      sum += partial_sum[p * cells + i];
      count += partial_count[p * cells + i];
    }
    out[i] = !average ? sum : count == 0 ? 0.0f : sum / static_cast<float>(count);
  }
}

}  // namespace

void launch_apply_mask(int64_t size, float* weight, const uint8_t* mask, cudaStream_t stream) {
  apply_mask_kernel<<<blocks_for(size), kThreads, 0, stream>>>(size, weight, mask);
}

void launch_assign(int64_t size, const float* weight, const SearchTable& table, int32_t* indices, cudaStream_t stream) {
  if (table.channels > 0) {
    assign_channels_kernel<<<blocks_for(size), kThreads, 0, stream>>>(size, weight, table, indices);
    return;
  }
  const bool stage = table.padded <= kSharedThresholds;
  const size_t shared = stage ? static_cast<size_t>(table.padded) * sizeof(float) : 0;
  assign_shared_kernel<<<blocks_for(size), kThreads, shared, stream>>>(size, weight, table, indices, stage);
}

void launch_gather(int64_t size, const int32_t* indices, const float* centroids, int64_t k, int64_t channels, float* out, cudaStream_t stream) {
  gather_kernel<<<blocks_for(size), kThreads, 0, stream>>>(size, indices, centroids, k, channels, out);
}

void launch_fake_quantize(int64_t size, const float* x, const RangeTable& range, float* out, cudaStream_t stream) {
  fake_quantize_kernel<<<blocks_for(size), kThreads, 0, stream>>>(size, x, range, out);
}

void launch_fake_quantize_gradient(int64_t size, const float* dy, const float* x, const RangeTable& range, float* dx, cudaStream_t stream) {
  fake_quantize_gradient_kernel<<<blocks_for(size), kThreads, 0, stream>>>(size, dy, x, range, dx);
}

void launch_max_abs(int64_t size, const float* weight, int64_t channels, float* out, cudaStream_t stream) {
  max_abs_kernel<<<std::min(blocks_for(size), 1024), kThreads, 0, stream>>>(size, weight, channels, out);
}

int64_t segment_sum_pieces(int64_t size, int64_t channels) {
  if (channels == 0) return (size + kPiece - 1) / kPiece;
  return (size / channels + kPieceRows - 1) / kPieceRows;
}

void launch_segment_sum(int64_t size, const int32_t* indices, const float* gradient, int64_t k, int64_t channels, bool average,
                        float* partial_sum, int32_t* partial_count, float* out, cudaStream_t stream) {
  const int64_t pieces = segment_sum_pieces(size, channels), cells = k * std::max<int64_t>(channels, 1);
  if (channels == 0) {
    int clusters_at_once = 1;
    while (clusters_at_once < kThreads && clusters_at_once < k) clusters_at_once *= 2;
    segment_sum_shared_kernel<<<static_cast<unsigned>(pieces), kThreads, 0, stream>>>(size, indices, gradient, k, clusters_at_once, partial_sum,
                                                                                     partial_count);
  } else {
    const dim3 grid(static_cast<unsigned>(pieces), static_cast<unsigned>((channels + kThreads - 1) / kThreads));
    segment_sum_channels_kernel<<<grid, kThreads, 0, stream>>>(size / channels, indices, gradient, k, channels, partial_sum, partial_count);
  }
  reduce_pieces_kernel<<<blocks_for(cells), kThreads, 0, stream>>>(cells, pieces, partial_sum, partial_count, average, out);
}

}  // namespace pcqat::cuda
