// Device memory for the lifetime of an object, and CUDA errors as exceptions of this module.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace pcqat::cuda {

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error) + ".");
}

template <typename T>
class DeviceArray {
 public:
  // Zeroed.
  explicit DeviceArray(int64_t count) : count_(count) {
    if (count == 0) return;
    check(cudaMalloc(&data_, bytes()), "Device memory");
    const cudaError_t error = cudaMemset(data_, 0, bytes());
    if (error != cudaSuccess) cudaFree(data_);
    check(error, "Device memory");
  }
  // A copy of host memory; a null pointer gives an empty array.
  DeviceArray(const T* host, int64_t count) : DeviceArray(host == nullptr ? 0 : count) {
    if (count_ > 0) check(cudaMemcpy(data_, host, bytes(), cudaMemcpyHostToDevice), "Copy to the device");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  // Waits for the kernels before it.
  void copy_to(T* host) const {
    check(cudaGetLastError(), "Kernel");
    if (count_ > 0) check(cudaMemcpy(host, data_, bytes(), cudaMemcpyDeviceToHost), "Copy from the device");
  }

 private:
  size_t bytes() const { return static_cast<size_t>(count_) * sizeof(T); }
  T* data_ = nullptr;
  int64_t count_;
};

}  // namespace pcqat::cuda
