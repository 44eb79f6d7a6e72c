// The interface of the CUDA module, a shared library that the addon opens with dlopen. Plain data and C linkage only, since
// the two are built by different compilers. Every function takes host memory and returns null or the reason it failed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pcqat::cuda {

constexpr uint32_t kModuleVersion = 1;  // changes with this header

struct DeviceInfo {
  char name[256];
  int capability_major, capability_minor;
  int driver_version;  // 1000 * major + 10 * minor
  size_t memory_bytes;
};

// A codebook prepared for searching, as in compression/codebook.h. `channels` = 0: shared, thresholds ascending [padded],
// the unused ones +infinity; else thresholds [k - 1, channels].
struct SearchTable {
  int64_t k, channels, padded;
  const float* thresholds;
  const int32_t* order;  // [rows, k], index of each sorted unique value
  const float* limit;    // [rows], largest |w| the thresholds decide
};

// Nudged ranges, one array per field; length 1, or one per channel.
struct RangeTable {
  int64_t channels;  // 0: per tensor, divide by the scale; else per channel, multiply by the inverse
  const float *min, *max, *scale, *inverse_scale, *zero_code;
  const int32_t* kind;  // 0 normal, 1 zero range, 2 NaN range
};

struct Module {
  uint32_t version;
  const char* (*probe)(DeviceInfo* info);
  const char* (*apply_mask)(int64_t size, float* weight, const uint8_t* mask);
  // Index of the nearest centroid, or -1 where |w| is beyond the limit: the caller decides those exactly.
  const char* (*assign)(int64_t size, const float* weight, const SearchTable& table, int32_t* indices);
  const char* (*gather)(int64_t size, const int32_t* indices, const float* centroids, int64_t k, int64_t channels, float* out);
  // Sums over fixed pieces of the weight, in a fixed order: the same bits on every run and device.
  const char* (*segment_sum)(int64_t size, const int32_t* indices, const float* gradient, int64_t k, int64_t channels, bool average,
                             float* out);
  const char* (*fake_quantize)(int64_t size, const float* x, const RangeTable& range, float* out);
  const char* (*fake_quantize_gradient)(int64_t size, const float* dy, const float* x, const RangeTable& range, float* dx);
  // out: 1 value or one per channel; NaN is ignored.
  const char* (*max_abs)(int64_t size, const float* weight, int64_t channels, float* out);
};

// The one symbol of the library: `extern "C" const Module* pcqat_cuda_module()`.
using ModuleEntry = const Module* (*)();

}  // namespace pcqat::cuda
