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

void copy_lines(const LineLayout& layout, const float* lines, int64_t count, const RowBlocks& to, const F32Kernels& kernels) {
  const int64_t floats = layout.width * layout.channels;
  for (int64_t i = 0; i < count; ++i) {
    const float* const line = lines + i * floats;
    float* const target = to.data + i * to.line;
    if (layout.blocks == 1) std::copy(line, line + floats, target);
    for (int64_t block = 0; layout.blocks > 1 && block < layout.blocks; ++block) {
      const int64_t first = block * layout.block;
      kernels.pack_panel(layout.width, layout.channels_of(block), line + first, layout.channels, target + block * to.block);
    }
  }
}

}  // namespace pcqat
