// Cuts typed arrays, each aligned to 64 bytes, out of one block of memory; with a null block it only measures.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pcqat {

class Carver {
 public:
  explicit Carver(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <typename T>
  T* take(int64_t count) {
    T* result = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
    used_ += (static_cast<size_t>(count) * sizeof(T) + 63) & ~size_t{63};
    return result;
  }
  size_t used() const { return used_; }

 private:
  char* memory_;
  size_t used_ = 0;
};

}  // namespace pcqat
