// What the optional CUDA module offers to the addon. All pointers are host memory; every call copies, computes on the
// device and copies back. Results are those of compression/functions.h, bit for bit: what is rounded is rounded in the
// same order, maxima have no order, and the segment sum uses the same lanes and blocks.
//
// The functions return null, or a message that stays valid until the thread's next call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "compression/fake_quant.h"
#include "simd/compression_kernels.h"

namespace pcqat {

struct CudaDevice {
  char name[256];
  int major, minor;    // compute capability
  int driver_version;  // 1000 * major + 10 * minor, 0 without a driver
  size_t memory_bytes;
};

struct CudaApi {
  const char* version;  // of the module; must equal the addon's
  const char* (*find_device)(CudaDevice* device);
  const char* (*apply_mask)(int64_t size, const uint8_t* mask, float* w);
  const char* (*assign)(int64_t size, const float* w, const Codebook& codebook, int32_t* indices);
  const char* (*gather)(int64_t size, const int32_t* indices, const float* centroids, int64_t k, int64_t channels, float* out);
  const char* (*segment_sum)(int64_t size, const int32_t* indices, const float* x, int64_t k, int64_t channels, int64_t rows_per_block,
                             const int32_t* counts, float* out);
  // One of `range` (channels = 0) and `ranges` is used.
  const char* (*fake_quantize)(int64_t size, int64_t channels, const float* x, const NudgedRange& range, const ChannelRanges& ranges,
                               float* out);
  const char* (*fake_quantize_gradient)(int64_t size, int64_t channels, const float* dy, const float* x, const NudgedRange& range,
                                        const ChannelRanges& ranges, float* dx);
  const char* (*max_abs)(int64_t size, const float* x, int64_t channels, float* out);
};

// Name of the one exported function: `const CudaApi* pcqat_cuda_api()`.
constexpr const char* kCudaApiSymbol = "pcqat_cuda_api";

}  // namespace pcqat
