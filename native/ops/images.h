// Passes that treat one image of the batch after another.
#pragma once

#include "ops/chunks.h"
#include "ops/common.h"
#include "parallel/thread_pool.h"

namespace pcqat {

// `rows` images of `floats` elements, several to a chunk when they are small.
inline Chunks image_chunks(int64_t rows, int64_t floats) { return chunks_of(rows, kChunkElements / floats + 1); }

// body(image, worker) for each of them.
template <typename Body>
void each_image(int64_t rows, int64_t floats, const Context& context, Body body) {
  const Chunks chunks = image_chunks(rows, floats);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) body(row, worker);
  });
}

}  // namespace pcqat
