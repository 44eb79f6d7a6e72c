#include "ops/conv.h"
#include "ops/depthwise_lines.h"
#include "ops/depthwise_spans.h"
#include "ops/finish.h"
#include "ops/statistics.h"
#include "parallel/thread_pool.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

// Most lines of the input that are read at once, outside of the image too.
int64_t input_lines(const ConvGeometry& g, const LineLayout& layout) {
  return std::min((step_lines(g) - 1) * g.stride_h + (g.kernel_h - 1) * g.dilation_h + 1, layout.most_lines);
}

struct DepthwiseMemory {
  DepthwiseSpans spans;
  float* lines;     // per worker
  bool* has_edges;  // per worker: of its lines
  float* repeated;  // x
};

// columns: channels of a block; the memory is enough for every instruction set's.
DepthwiseMemory plan(const ConvGeometry& g, int64_t rows, int64_t columns, int threads, Carver& workspace) {
  DepthwiseSpans spans(g, false, columns, workspace);
  float* lines = workspace.take<float>(threads * input_lines(g, spans.layout()) * spans.layout().most_floats());
  bool* has_edges = workspace.take<bool>(threads);
  return {spans, lines, has_edges, workspace.take<float>(repeated_floats(g, rows))};
}

// The lines of the input that are read.
void need(const LineLayout& layout, const LayerInput& x, int64_t image, Lines lines, LineBuffer& buffer, const Kernels& kernels) {
  buffer.need(image, lines, [&](int64_t line, int64_t count, const RowBlocks& to) {
    const int64_t first = (image * layout.height + line) * layout.width;
    if (x.delayed != nullptr)
      norm_output_rows(*x.delayed, first, count * layout.width, to, kernels);
    else
      copy_lines(layout, x.x + first * layout.channels, count, to, *kernels.f32);
  });
}

}  // namespace

size_t depthwise_workspace(const ConvGeometry& g, int64_t max_rows, int threads) {
  Carver workspace(nullptr);
  plan(g, max_rows, g.out_c, threads, workspace);
  return workspace.used();
}

void depthwise_forward(const ConvGeometry& g, int64_t rows, const LayerInput& x, const float* kernel, const float* bias,
                       Activation activation, float* y, OutputStatistics* statistics, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const int threads = context.pool.threads();
  Carver workspace(context.workspace);
  DepthwiseMemory memory = plan(g, rows, kernels.gemm_columns, threads, workspace);
  DepthwiseSpans& spans = memory.spans;
  const LineLayout& layout = spans.layout();
  spans.fill();
  const int64_t most_lines = input_lines(g, layout);
  std::fill(memory.has_edges, memory.has_edges + threads, false);
  const LayerInput input = repeat_channels(g, rows, x, memory.repeated, context);
  const float* const memory_of_x = input.delayed == nullptr ? input.x : input.delayed->x;
  const int64_t in_line = g.in_w * g.out_c, out_line = g.out_w * g.out_c;
  const Chunks chunks =
      chunks_of(rows * g.out_h, kChunkElements / out_line + 1, 1, cuts_in_two(statistics, kTwoChunksElements / out_line + 1));
  if (statistics != nullptr) statistics->chunks = chunks.of(g.out_w);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    LineBuffer in(layout, memory.lines + worker * most_lines * layout.floats(), most_lines, memory.has_edges[worker]);
    each_step(chunks.begin(chunk), chunks.end(chunk), g.out_h, step_lines(g), [&](int64_t image, Lines lines) {
      const Lines read = spans.sources(lines);
      need(layout, input, image, read, in, context.kernels);
      const int64_t count = lines.end - lines.first;
      const NextLines next_x{memory_of_x, image * g.in_h + std::min(read.end, g.in_h), count, rows * g.in_h, in_line};
      const NextLines next_y{y, image * g.out_h + lines.end, count, rows * g.out_h, out_line};
      spans.each(lines, [&](DepthwiseSpan span, const DepthwisePlace& place) {
        span.upcoming[0] = next_x.share(place.part, place.parts);
        span.upcoming[1] = next_y.share(place.part, place.parts);
        kernels.depthwise(span, in.at(place.line, place.block), kernel + place.channel, bias == nullptr ? nullptr : bias + place.channel,
                          activation_low(activation), activation_high(activation),
                          y + (image * g.out_h * g.out_w + place.pixel) * g.out_c + place.channel);
      });
      if (statistics == nullptr) return;
      statistics->take(chunk, (image * g.out_h + lines.first) * g.out_w, count * g.out_w, g.out_c, y, kernels);
    });
  });
}

}  // namespace pcqat
