// Column panels of a transposed matrix, kLanes x kLanes elements at a time.
#pragma once

#include "simd/gemm_tile.h"

namespace pcqat {
namespace PCQAT_ISA_NAMESPACE {
namespace {

// Lanes of a and b in turn: the first half of them, or the second.
template <int Half>
PCQAT_INLINE Vec interleave(Vec a, Vec b) {
  typedef int32_t Order __attribute__((vector_size(4 * kLanes)));
  Order order{};
  PCQAT_UNROLL for (int i = 0; i < kLanes; ++i) order[i] = Half * kLanes / 2 + i / 2 + i % 2 * kLanes;
  return __builtin_shuffle(a, b, order);
}

PCQAT_INLINE void transpose(Vec (&rows)[kLanes]) {
  PCQAT_UNROLL for (int done = 1; done < kLanes; done *= 2) {
    Vec next[kLanes];
    PCQAT_UNROLL for (int i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = interleave<0>(rows[i], rows[i + kLanes / 2]);
      next[2 * i + 1] = interleave<1>(rows[i], rows[i + kLanes / 2]);
    }
    PCQAT_UNROLL for (int i = 0; i < kLanes; ++i) rows[i] = next[i];
  }
}

void pack_transposed(int64_t k, int64_t columns, const float* b, int64_t b_column, float* packed) {
  constexpr int64_t kAhead = 64;  // a matrix with long rows lies on many pages, which the processor does not follow by itself
  for (int64_t j = 0; j < kColumns; j += kLanes) {
    for (int64_t l = 0; l < k; l += kLanes) {
      const int64_t steps = k - l < kLanes ? k - l : kLanes;
      Vec rows[kLanes];
      PCQAT_UNROLL for (int i = 0; i < kLanes; ++i) {
        const float* row = b + (j + i) * b_column + l;
        __builtin_prefetch(row + kAhead);
        rows[i] = j + i >= columns ? Vec{} : steps == kLanes ? load(row) : load_n(row, steps);
      }
      transpose(rows);
      PCQAT_UNROLL for (int i = 0; i < kLanes; ++i) {
        if (i < steps) store(packed + (l + i) * kColumns + j, rows[i]);
      }
    }
  }
}

}  // namespace
}  // namespace PCQAT_ISA_NAMESPACE
}  // namespace pcqat
