// The weight chain's parts on their own, for one tensor and on the calling thread. Arguments are already checked:
// `size` is a multiple of `channels`, indices are in [0, k). `channels` = 0: one codebook or range for the tensor.
#pragma once

#include <cstdint>

namespace pcqat {

struct Kernels;

void apply_mask(const Kernels& kernels, int64_t size, const uint8_t* mask, float* w);

void assign_centroids(const Kernels& kernels, int64_t size, const float* w, const float* centroids, int64_t k, int64_t channels,
                      int32_t* indices);

void gather_centroids(const Kernels& kernels, int64_t size, const int32_t* indices, const float* centroids, int64_t k, int64_t channels,
                      float* out);

void centroid_gradient(int64_t size, const int32_t* indices, const float* gradient, int64_t k, int64_t channels, bool average, float* out);

struct FakeQuantOptions {
  const float* min;
  const float* max;
  int64_t channels;  // 0: one range
  int bits;
  bool narrow_range;
};
void fake_quantize(const Kernels& kernels, int64_t size, const float* x, const FakeQuantOptions& options, float* out);
void fake_quantize_gradient(const Kernels& kernels, int64_t size, const float* dy, const float* x, const FakeQuantOptions& options,
                            float* dx);

// [-a, a], a = max|w| of the tensor or channel.
void symmetric_range(const Kernels& kernels, int64_t size, const float* w, int64_t channels, float* min, float* max);

}  // namespace pcqat
