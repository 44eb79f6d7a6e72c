// The module's function table: host memory in, host memory out.
#include <algorithm>
#include <cstring>

#include "cuda/cuda_api.h"
#include "cuda/device_array.cuh"
#include "cuda/kernels.cuh"

namespace pcqat::cuda {
namespace {

// Oldest device the module has code for.
constexpr int kMinimumMajor = 8;
constexpr int64_t kMaxBlocks = 65535;

thread_local std::string last_error;

template <typename Body>
const char* guarded(Body&& body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    last_error = error.what();
    return last_error.c_str();
  }
}

int blocks_for(int64_t size) { return static_cast<int>(std::clamp<int64_t>((size + kThreads - 1) / kThreads, 1, kMaxBlocks)); }

const char* find_device(CudaDevice* device) {
  return guarded([&] {
    std::memset(device, 0, sizeof *device);
    check(cudaDriverGetVersion(&device->driver_version), "CUDA driver");
    if (device->driver_version == 0) throw std::runtime_error("No NVIDIA driver is installed.");
    int count = 0;
    check(cudaGetDeviceCount(&count), "CUDA");
    if (count == 0) throw std::runtime_error("The NVIDIA driver finds no GPU.");
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, 0), "CUDA device 0");
    std::strncpy(device->name, properties.name, sizeof device->name - 1);
    device->major = properties.major;
    device->minor = properties.minor;
    device->memory_bytes = properties.totalGlobalMem;
    if (properties.major < kMinimumMajor) {
      throw std::runtime_error(std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." +
                               std::to_string(properties.minor) + "; the module needs 8.0 or newer.");
    }
  });
}

const char* apply_mask(int64_t size, const uint8_t* mask, float* w) {
  return guarded([&] {
    const DeviceArray<uint8_t> bits(mask, size);
    DeviceArray<float> values(w, size);
    apply_mask_kernel<<<blocks_for(size), kThreads>>>(size, bits.data(), values.data());
    values.copy_to(w);
  });
}

const char* assign(int64_t size, const float* w, const Codebook& book, int32_t* indices) {
  return guarded([&] {
    const int64_t rows = std::max<int64_t>(book.channels, 1);
    const DeviceArray<float> weights(w, size);
    const DeviceArray<float> thresholds(book.thresholds, book.channels == 0 ? book.padded : (book.k - 1) * book.channels);
    const DeviceArray<float> values(book.values, rows * book.k), limit(book.limit, rows);
    const DeviceArray<int32_t> order(book.order, rows * book.k), lowest(book.lowest, rows * 2 * book.k), count(book.count, rows);
    DeviceArray<int32_t> found(size);
    Codebook on_device = book;
    on_device.thresholds = thresholds.data();
    on_device.values = values.data();
    on_device.limit = limit.data();
    on_device.order = order.data();
    on_device.lowest = lowest.data();
    on_device.count = count.data();
    on_device.exact = nullptr;
    if (book.channels == 0) {
      const size_t shared = book.padded <= kSharedThresholds ? static_cast<size_t>(book.padded) * sizeof(float) : 0;
      assign_kernel<<<blocks_for(size), kThreads, shared>>>(size, weights.data(), on_device, found.data());
    } else {
      assign_channels_kernel<<<blocks_for(size), kThreads>>>(size, weights.data(), on_device, found.data());
    }
    found.copy_to(indices);
  });
}

const char* gather(int64_t size, const int32_t* indices, const float* centroids, int64_t k, int64_t channels, float* out) {
  return guarded([&] {
    const DeviceArray<int32_t> positions(indices, size);
    const DeviceArray<float> table(centroids, k * std::max<int64_t>(channels, 1));
    DeviceArray<float> values(size);
    gather_kernel<<<blocks_for(size), kThreads>>>(size, positions.data(), table.data(), k, channels, values.data());
    values.copy_to(out);
  });
}

const char* segment_sum(int64_t size, const int32_t* indices, const float* x, int64_t k, int64_t channels, int64_t rows_per_block,
                        const int32_t* counts, float* out) {
  return guarded([&] {
    const int64_t columns = std::max<int64_t>(channels, 1), rows = size / columns, centroids = k * columns;
    const int64_t blocks = (rows + rows_per_block - 1) / rows_per_block;
    const int64_t stride = channels == 0 ? k * kSegmentLanes : centroids;
    const DeviceArray<int32_t> positions(indices, size), members(counts, centroids);
    const DeviceArray<float> values(x, size);
    DeviceArray<float> partials(blocks * stride), sums(centroids);
    if (blocks > 0 && channels == 0) {
      segment_sum_kernel<<<static_cast<unsigned>(blocks), kSegmentLanes>>>(size, rows_per_block, positions.data(), values.data(), k,
                                                                           partials.data());
    } else if (blocks > 0) {
      if (blocks > kMaxBlocks) throw std::runtime_error("The weight has too many rows for one sum.");
      const dim3 grid(static_cast<unsigned>((channels + kThreads - 1) / kThreads), static_cast<unsigned>(blocks));
      segment_sum_channels_kernel<<<grid, kThreads>>>(rows, rows_per_block, positions.data(), values.data(), k, channels, partials.data());
    }
    segment_reduce_kernel<<<blocks_for(centroids), kThreads>>>(partials.data(), blocks, stride, centroids, members.data(), sums.data());
    sums.copy_to(out);
  });
}

// The ranges of all channels on the device.
struct DeviceRanges {
  DeviceArray<float> min, max, scale, inverse_scale, zero_code;
  DeviceArray<int32_t> kind;
  DeviceRanges(const ChannelRanges& r, int64_t channels)
      : min(r.min, channels), max(r.max, channels), scale(r.scale, channels), inverse_scale(r.inverse_scale, channels),
        zero_code(r.zero_code, channels), kind(r.kind, channels) {}
  ChannelRanges view() const { return {min.data(), max.data(), scale.data(), inverse_scale.data(), zero_code.data(), kind.data()}; }
};

const char* fake_quantize(int64_t size, int64_t channels, const float* x, const NudgedRange& range, const ChannelRanges& ranges,
                          float* out) {
  return guarded([&] {
    const DeviceArray<float> input(x, size);
    const DeviceRanges on_device(ranges, channels);
    DeviceArray<float> output(size);
    if (channels == 0)
      fake_quantize_kernel<<<blocks_for(size), kThreads>>>(size, input.data(), range, output.data());
    else
      fake_quantize_channels_kernel<<<blocks_for(size), kThreads>>>(size, channels, input.data(), on_device.view(), output.data());
    output.copy_to(out);
  });
}

const char* fake_quantize_gradient(int64_t size, int64_t channels, const float* dy, const float* x, const NudgedRange& range,
                                   const ChannelRanges& ranges, float* dx) {
  return guarded([&] {
    const DeviceArray<float> upstream(dy, size), input(x, size);
    const DeviceRanges on_device(ranges, channels);
    DeviceArray<float> gradient(size);
    if (channels == 0) {
      fake_quantize_gradient_kernel<<<blocks_for(size), kThreads>>>(size, upstream.data(), input.data(), range, gradient.data());
    } else {
      fake_quantize_gradient_channels_kernel<<<blocks_for(size), kThreads>>>(size, channels, upstream.data(), input.data(),
                                                                             on_device.view(), gradient.data());
    }
    gradient.copy_to(dx);
  });
}

const char* max_abs(int64_t size, const float* x, int64_t channels, float* out) {
  return guarded([&] {
    const int64_t count = std::max<int64_t>(channels, 1);
    const DeviceArray<float> input(x, size);
    DeviceArray<int32_t> bits(count);
    max_abs_kernel<<<blocks_for(size), kThreads>>>(size, input.data(), channels, bits.data());
    static_assert(sizeof(float) == sizeof(int32_t));
    bits.copy_to(reinterpret_cast<int32_t*>(out));
  });
}

constexpr CudaApi api{PCQAT_VERSION, find_device, apply_mask, assign, gather, segment_sum, fake_quantize, fake_quantize_gradient, max_abs};

}  // namespace
}  // namespace pcqat::cuda

extern "C" __attribute__((visibility("default"))) const pcqat::CudaApi* pcqat_cuda_api() { return &pcqat::cuda::api; }
