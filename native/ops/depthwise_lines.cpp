#include "ops/depthwise_lines.h"

#include "ops/chunks.h"
#include "parallel/thread_pool.h"

namespace pcqat {

LayerInput repeat_channels(const ConvGeometry& g, int64_t rows, const LayerInput& x, float* repeated, const Context& context) {
  if (!repeats_channels(g)) return x;
  const int64_t multiplier = g.out_c / g.in_c, pixels = rows * g.in_h * g.in_w;
  const float* const values = settle(x, pixels, context);
  const Chunks chunks = chunks_of(pixels * g.in_c, kChunkElements);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) {
      for (int64_t m = 0; m < multiplier; ++m) repeated[i * multiplier + m] = values[i];
    }
  });
  return {repeated};
}

void copy_line(const LineLayout& layout, const float* line, const RowBlocks& to, const F32Kernels& kernels) {
  if (layout.blocks == 1) {
    std::copy(line, line + layout.width * layout.channels, to.data);
    return;
  }
  for (int64_t block = 0; block < layout.blocks; ++block) {
    const int64_t first = block * layout.block;
    kernels.pack_panel(layout.width, layout.channels_of(block), line + first, layout.channels, to.data + block * to.block);
  }
}

}  // namespace pcqat
