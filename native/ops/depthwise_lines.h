// What both passes of a depthwise convolution share: they go through images some lines at a time, with lines of the source in a buffer.
#pragma once

#include <algorithm>

#include "ops/chunks.h"
#include "ops/conv.h"
#include "ops/line_buffer.h"
#include "simd/f32_kernels.h"

namespace pcqat {

// Floats of a matrix of which some lines are worked on at once: with what belongs to them they stay in the second-level cache.
constexpr int64_t kStepFloats = 16384;
// Lines of the output at once.
inline int64_t step_lines(const ConvGeometry& g) { return std::clamp<int64_t>(kStepFloats / (g.out_w * g.out_c), 1, g.out_h); }

// Elements of the output that are worth two chunks where there would be one.
constexpr int64_t kTwoChunksElements = kChunkElements / 3;

// Rows [begin, end), counted over all images of `height` rows, some at a time: body(image, rows of it).
template <typename Body>
void each_step(int64_t begin, int64_t end, int64_t height, int64_t step, Body body) {
  for (int64_t row = begin; row < end;) {
    const int64_t first = row % height, count = std::min({step, end - row, height - first});
    body(row / height, Lines{first, first + count});
    row += count;
  }
}

// A channel multiplier is handled as multiplier 1 on an input whose channels are repeated.
inline bool repeats_channels(const ConvGeometry& g) { return g.out_c != g.in_c; }
inline int64_t repeated_floats(const ConvGeometry& g, int64_t rows) { return repeats_channels(g) ? rows * g.in_h * g.in_w * g.out_c : 0; }
// x, or in `repeated` that of more channels.
LayerInput repeat_channels(const ConvGeometry& g, int64_t rows, const LayerInput& x, float* repeated, const Context& context);

// Lines of an image into those of a buffer.
void copy_lines(const LineLayout& layout, const float* lines, int64_t count, const RowBlocks& to, const F32Kernels& kernels);

// Lines of images that are read or written next: at most `count` of them, from line `first` on, counted over all images.
struct NextLines {
  const float* images;
  int64_t first, count, all, floats;  // floats: of a line

  // What is fetched while part `index` of `parts` is computed.
  Upcoming share(int64_t index, int64_t parts) const {
    const int64_t part = std::clamp<int64_t>(all - first, 0, count) * floats / parts;
    return {images + first * floats + index * part, part};
  }
};

}  // namespace pcqat
