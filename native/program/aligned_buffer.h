// Zero-initialised memory for the lifetime of a session.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pcqat {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // calloc, not aligned_alloc: large blocks then come as zero pages that cost nothing until they are used.
  explicit AlignedBuffer(size_t bytes) : memory_(std::calloc(bytes + kAlignment, 1)), bytes_(bytes) {
    if (memory_ == nullptr) throw std::bad_alloc();
    const uintptr_t address = reinterpret_cast<uintptr_t>(memory_);
    data_ = reinterpret_cast<uint8_t*>((address + kAlignment - 1) & ~uintptr_t{kAlignment - 1});
    ask_for_huge_pages();
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept { swap(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~AlignedBuffer() { std::free(memory_); }

  uint8_t* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kAlignment = 64;
  static constexpr uintptr_t kHugePage = uintptr_t{1} << 21;

  // The first touch of a page of 4 KiB costs more than everything that the first training step does with it.
  void ask_for_huge_pages() const {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t start = reinterpret_cast<uintptr_t>(data_);
    const uintptr_t first = (start + kHugePage - 1) & ~(kHugePage - 1), last = (start + bytes_) & ~(kHugePage - 1);
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);  // a refusal changes nothing but time
#endif
  }

  void swap(AlignedBuffer& other) {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  void* memory_ = nullptr;
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace pcqat
