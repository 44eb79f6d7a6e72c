#include <cstring>

#include "cuda/kernels.cuh"

namespace pcqat::cuda {

namespace {

// Device memory of one call. After a failure everything else is skipped and `reason` says what happened.
class Call {
 public:
  ~Call() {
    for (int i = 0; i < count_; ++i) cudaFree(blocks_[i]);
  }

  template <typename T>
  T* allocate(int64_t count) {
    void* block = nullptr;
    if (error_ == cudaSuccess) error_ = cudaMalloc(&block, static_cast<size_t>(count > 0 ? count : 1) * sizeof(T));
    if (error_ == cudaSuccess) blocks_[count_++] = block;
    return static_cast<T*>(block);
  }

  template <typename T>
  T* zeros(int64_t count) {
    T* block = allocate<T>(count);
    if (error_ == cudaSuccess) error_ = cudaMemset(block, 0, static_cast<size_t>(count) * sizeof(T));
    return block;
  }

  template <typename T>
  T* upload(const T* host, int64_t count) {
    T* block = allocate<T>(count);
    if (error_ == cudaSuccess) error_ = cudaMemcpy(block, host, static_cast<size_t>(count) * sizeof(T), cudaMemcpyHostToDevice);
    return block;
  }

  template <typename T>
  void download(T* host, const T* block, int64_t count) {
    if (error_ == cudaSuccess) error_ = cudaGetLastError();
    if (error_ == cudaSuccess) error_ = cudaMemcpy(host, block, static_cast<size_t>(count) * sizeof(T), cudaMemcpyDeviceToHost);
  }

  bool ok() const { return error_ == cudaSuccess; }
  const char* reason() const { return ok() ? nullptr : cudaGetErrorString(error_); }

 private:
  static constexpr int kMostBlocks = 12;
  void* blocks_[kMostBlocks];
  int count_ = 0;
  cudaError_t error_ = cudaSuccess;
};

const char* probe(DeviceInfo* info) {
  int devices = 0;
  cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  if (devices == 0) return "no CUDA-capable device is detected";
  cudaDeviceProp properties;
  error = cudaGetDeviceProperties(&properties, 0);
  if (error == cudaSuccess) error = cudaDriverGetVersion(&info->driver_version);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  std::strncpy(info->name, properties.name, sizeof info->name - 1);
  info->name[sizeof info->name - 1] = '\0';
  info->capability_major = properties.major;
  info->capability_minor = properties.minor;
  info->memory_bytes = properties.totalGlobalMem;
  return nullptr;
}

const char* apply_mask(int64_t size, float* weight, const uint8_t* mask) {
  Call call;
  float* w = call.upload(weight, size);
  const uint8_t* m = call.upload(mask, size);
  if (call.ok()) launch_apply_mask(size, w, m, nullptr);
  call.download(weight, w, size);
  return call.reason();
}

const char* assign(int64_t size, const float* weight, const SearchTable& table, int32_t* indices) {
  Call call;
  const int64_t rows = table.channels > 0 ? table.channels : 1;
  SearchTable device = table;
  device.thresholds = call.upload(table.thresholds, table.channels > 0 ? (table.k - 1) * table.channels : table.padded);
  device.order = call.upload(table.order, rows * table.k);
  device.limit = call.upload(table.limit, rows);
  const float* w = call.upload(weight, size);
  int32_t* out = call.allocate<int32_t>(size);
  if (call.ok()) launch_assign(size, w, device, out, nullptr);
  call.download(indices, out, size);
  return call.reason();
}

const char* gather(int64_t size, const int32_t* indices, const float* centroids, int64_t k, int64_t channels, float* out) {
  Call call;
  const int32_t* i = call.upload(indices, size);
  const float* c = call.upload(centroids, k * (channels > 0 ? channels : 1));
  float* y = call.allocate<float>(size);
  if (call.ok()) launch_gather(size, i, c, k, channels, y, nullptr);
  call.download(out, y, size);
  return call.reason();
}

const char* segment_sum(int64_t size, const int32_t* indices, const float* gradient, int64_t k, int64_t channels, bool average, float* out) {
  Call call;
  const int64_t cells = k * (channels > 0 ? channels : 1), pieces = segment_sum_pieces(size, channels);
  const int32_t* i = call.upload(indices, size);
  const float* g = call.upload(gradient, size);
  float* sums = call.zeros<float>(pieces * cells);
  int32_t* counts = call.zeros<int32_t>(pieces * cells);
  float* result = call.allocate<float>(cells);
  if (call.ok()) launch_segment_sum(size, i, g, k, channels, average, sums, counts, result, nullptr);
  call.download(out, result, cells);
  return call.reason();
}

RangeTable upload(Call& call, const RangeTable& range) {
  const int64_t count = range.channels > 0 ? range.channels : 1;
  RangeTable device = range;
  device.min = call.upload(range.min, count);
  device.max = call.upload(range.max, count);
  device.scale = call.upload(range.scale, count);
  device.inverse_scale = call.upload(range.inverse_scale, count);
  device.zero_code = call.upload(range.zero_code, count);
  device.kind = call.upload(range.kind, count);
  return device;
}

const char* fake_quantize(int64_t size, const float* x, const RangeTable& range, float* out) {
  Call call;
  const RangeTable device = upload(call, range);
  const float* in = call.upload(x, size);
  float* y = call.allocate<float>(size);
  if (call.ok()) launch_fake_quantize(size, in, device, y, nullptr);
  call.download(out, y, size);
  return call.reason();
}

const char* fake_quantize_gradient(int64_t size, const float* dy, const float* x, const RangeTable& range, float* dx) {
  Call call;
  const RangeTable device = upload(call, range);
  const float* gradient = call.upload(dy, size);
  const float* in = call.upload(x, size);
  float* result = call.allocate<float>(size);
  if (call.ok()) launch_fake_quantize_gradient(size, gradient, in, device, result, nullptr);
  call.download(dx, result, size);
  return call.reason();
}

const char* max_abs(int64_t size, const float* weight, int64_t channels, float* out) {
  Call call;
  const int64_t count = channels > 0 ? channels : 1;
  const float* w = call.upload(weight, size);
  float* result = call.zeros<float>(count);
  if (call.ok()) launch_max_abs(size, w, channels, result, nullptr);
  call.download(out, result, count);
  return call.reason();
}

const Module kModule{kModuleVersion, probe, apply_mask, assign, gather, segment_sum, fake_quantize, fake_quantize_gradient, max_abs};

}  // namespace

extern "C" __attribute__((visibility("default"))) const Module* pcqat_cuda_module() { return &kModule; }

}  // namespace pcqat::cuda
