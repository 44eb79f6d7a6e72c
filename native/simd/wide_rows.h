// Rows of few channels, several of them as one wide row: vectors would stand half empty otherwise.
#pragma once

#include "simd/f32_vector.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

constexpr int64_t kWideLanes = 4 * kLanes;  // a wide row has at least as many
constexpr int64_t kMostWide = 4 * kWideLanes;

// How many rows make a wide one, a whole number of vectors; 1: they are not joined.
PCQAT_INLINE int64_t rows_of_wide(int64_t channels) {
  if (kLanes == 1 || channels >= kWideLanes) return 1;
  int64_t rows = 1;
  while (rows * channels < kWideLanes || rows * channels % kLanes != 0) ++rows;
  return rows * channels <= kMostWide ? rows : 1;
}

// body(first, count, repeats): rows [first, first + count * repeats) as `count` wide ones, then those left over with repeats = 1. Only if
// one row follows the other (`joined`).
template <typename Body>
PCQAT_INLINE void each_wide(int64_t rows, int64_t channels, bool joined, Body body) {
  const int64_t repeats = joined ? rows_of_wide(channels) : 1, wide = rows / repeats;
  if (repeats > 1 && wide > 0) body(int64_t{0}, wide, repeats);
  const int64_t done = repeats > 1 ? wide * repeats : 0;
  if (done < rows) body(done, rows - done, int64_t{1});
}

// A constant per channel, repeated along a wide row.
class Repeated {
 public:
  PCQAT_INLINE Repeated(const float* values, int64_t channels, int64_t repeats) : data_(repeats == 1 ? values : memory_) {
    for (int64_t i = 0; repeats > 1 && i < repeats * channels; ++i) memory_[i] = i < channels ? values[i] : memory_[i - channels];
  }
  Repeated(const Repeated&) = delete;
  PCQAT_INLINE operator const float*() const { return data_; }
  PCQAT_INLINE float* memory() { return memory_; }  // of repeated values

 private:
  alignas(64) float memory_[kMostWide];
  const float* data_;
};

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
