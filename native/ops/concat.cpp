#include "ops/concat.h"

#include <cstring>

#include "ops/chunks.h"
#include "parallel/thread_pool.h"

namespace pcqat {

namespace {

void copy_rows(int64_t rows, int64_t width, const float* from, int64_t from_step, float* to, int64_t to_step, const Context& context) {
  const Chunks chunks = chunks_of(rows, kChunkElements / width + 1);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      std::memcpy(to + row * to_step, from + row * from_step, sizeof(float) * width);
    }
  });
}

}  // namespace

void put_channels(int64_t pixels, int64_t channels, const float* from, int64_t first, int64_t to_channels, float* to,
                  const Context& context) {
  copy_rows(pixels, channels, from, channels, to + first, to_channels, context);
}

void take_channels(int64_t pixels, int64_t channels, const float* from, int64_t first, int64_t from_channels, float* to,
                   const Context& context) {
  copy_rows(pixels, channels, from + first, from_channels, to, channels, context);
}

}  // namespace pcqat
