// Sums over chunks, in chunk order.
#pragma once

#include <algorithm>
#include <cstring>

#include "ops/chunks.h"
#include "ops/common.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

// sum[i] = Σ_p partials[p * size + i]
inline void sum_partials(int64_t size, int64_t count, const float* partials, float* sum, const Context& context) {
  const Chunks chunks = chunks_of(size, kChunkElements / count + 1, 16);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t begin = chunks.begin(chunk), length = chunks.length(chunk);
    std::memcpy(sum + begin, partials + begin, sizeof(float) * length);
    for (int64_t p = 1; p < count; ++p) context.kernels.f32->add(length, partials + p * size + begin, sum + begin);
  });
}

}  // namespace pcqat
