// Launchers of the CUDA kernels on device memory. A whole training step on the GPU would call these directly.
#pragma once

#include <cuda_runtime.h>

#include "cuda/cuda_module.h"

namespace pcqat::cuda {

void launch_apply_mask(int64_t size, float* weight, const uint8_t* mask, cudaStream_t stream);
void launch_assign(int64_t size, const float* weight, const SearchTable& table, int32_t* indices, cudaStream_t stream);
void launch_gather(int64_t size, const int32_t* indices, const float* centroids, int64_t k, int64_t channels, float* out, cudaStream_t stream);
void launch_fake_quantize(int64_t size, const float* x, const RangeTable& range, float* out, cudaStream_t stream);
void launch_fake_quantize_gradient(int64_t size, const float* dy, const float* x, const RangeTable& range, float* dx, cudaStream_t stream);
// `out` must be zero; one value, or one per channel.
void launch_max_abs(int64_t size, const float* weight, int64_t channels, float* out, cudaStream_t stream);

// Partial sums [pieces][k * max(channels, 1)], then their sum in order. Sizes in elements.
int64_t segment_sum_pieces(int64_t size, int64_t channels);
// `partial_sum` and `partial_count` must be zero.
void launch_segment_sum(int64_t size, const int32_t* indices, const float* gradient, int64_t k, int64_t channels, bool average,
                        float* partial_sum, int32_t* partial_count, float* out, cudaStream_t stream);

}  // namespace pcqat::cuda
