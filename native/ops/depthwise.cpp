#include <algorithm>
#include <cstring>

#include "ops/conv.h"
#include "ops/depthwise_spans.h"
#include "ops/finish.h"
#include "ops/gemm.h"
#include "ops/reduce.h"
#include "ops/statistics.h"
#include "parallel/thread_pool.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

constexpr int64_t kMostPartials = 32;
// Floats of the output that are worked on at once: with what belongs to them they stay in the second-level cache.
constexpr int64_t kStepFloats = 16384;

// Lines of the output at once.
int64_t step_lines(const ConvGeometry& g) { return std::clamp<int64_t>(kStepFloats / (g.out_w * g.out_c), 1, g.out_h); }
// Most lines of the input that they read, and of the output's gradient that they and their input lines read, outside of the image too.
int64_t input_lines(const ConvGeometry& g) { return (step_lines(g) - 1) * g.stride_h + (g.kernel_h - 1) * g.dilation_h + 1; }
int64_t gradient_lines(const ConvGeometry& g) { return step_lines(g) + 2 * ((g.kernel_h - 1) * g.dilation_h / g.stride_h) + 3; }

struct DepthwiseMemory {
  DepthwiseSpans outward, inward;  // of the output, and of the gradient of the input
  float* x_lines;                  // per worker
  float* d_lines;                  // per worker
  float* partials;
  float* bias_partials;
  float* ones;      // of a block
  float* expanded;  // x or dx with every channel repeated `multiplier` times
};

// columns: channels of a block; the memory is enough for every instruction set's.
DepthwiseMemory plan(const ConvGeometry& g, int64_t rows, int64_t columns, int threads, Carver& workspace) {
  const int64_t size = g.kernel_h * g.kernel_w * g.out_c;
  DepthwiseSpans outward(g, false, columns, workspace), inward(g, true, columns, workspace);
  const auto take_lines = [&](int64_t lines, const LineLayout& layout) {
    return workspace.take<float>(threads * lines * packed_floats(layout.before + layout.width + layout.after, g.out_c));
  };
  float* x_lines = take_lines(input_lines(g), outward.layout());
  float* d_lines = take_lines(gradient_lines(g), inward.layout());
  float* partials = workspace.take<float>(kMostPartials * size);
  float* bias_partials = workspace.take<float>(kMostPartials * g.out_c);
  float* ones = workspace.take<float>(g.out_c);
  float* expanded = workspace.take<float>(g.out_c == g.in_c ? 0 : rows * g.in_h * g.in_w * g.out_c);
  return {outward, inward, x_lines, d_lines, partials, bias_partials, ones, expanded};
}

DepthwiseMemory memory_of(const ConvGeometry& g, int64_t rows, const Context& context) {
  Carver workspace(context.workspace);
  const int threads = context.pool.threads();
  DepthwiseMemory memory = plan(g, rows, context.kernels.f32->gemm_columns, threads, workspace);
  memory.outward.fill();
  LineBuffer::clear_edges(memory.outward.layout(), threads * input_lines(g), memory.x_lines);
  return memory;
}

// Rows [begin, end), counted over all images of `height` rows, some at a time: body(image, rows of it).
template <typename Body>
void each_step(int64_t begin, int64_t end, int64_t height, int64_t step, Body body) {
  for (int64_t row = begin; row < end;) {
    const int64_t first = row % height, count = std::min({step, end - row, height - first});
    body(row / height, Lines{first, first + count});
    row += count;
  }
}

bool repeats(const ConvGeometry& g) { return g.out_c != g.in_c; }

// A channel multiplier is handled as multiplier 1 on an input whose channels are repeated.
LayerInput repeat_channels(const ConvGeometry& g, int64_t rows, const LayerInput& input, float* expanded, const Context& context) {
  if (!repeats(g)) return input;
  const int64_t multiplier = g.out_c / g.in_c, pixels = rows * g.in_h * g.in_w;
  const float* const x = settle(input, pixels, context);
  const Chunks chunks = chunks_of(pixels * g.in_c, kChunkElements);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) {
      for (int64_t m = 0; m < multiplier; ++m) expanded[i * multiplier + m] = x[i];
    }
  });
  return {expanded};
}

void sum_repeated_channels(const ConvGeometry& g, int64_t rows, const float* expanded, float* dx, const Context& context) {
  const int64_t multiplier = g.out_c / g.in_c;
  const Chunks chunks = chunks_of(rows * g.in_h * g.in_w * g.in_c, kChunkElements);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) {
      float sum = 0;
      for (int64_t m = 0; m < multiplier; ++m) sum += expanded[i * multiplier + m];
      dx[i] = sum;
    }
  });
}

LineBuffer input_buffer(const ConvGeometry& g, const DepthwiseMemory& memory, int worker) {
  const LineLayout& layout = memory.outward.layout();
  return {layout, memory.x_lines + worker * input_lines(g) * layout.floats(), input_lines(g)};
}

LineBuffer gradient_buffer(const ConvGeometry& g, const DepthwiseMemory& memory, int worker) {
  const LineLayout& layout = memory.inward.layout();
  return {layout, memory.d_lines + worker * gradient_lines(g) * layout.floats(), gradient_lines(g)};
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

void need_input(const LineLayout& layout, const LayerInput& x, int64_t image, Lines lines, LineBuffer& buffer, const Kernels& kernels) {
  buffer.need(image, lines, [&](int64_t line, const RowBlocks& to) {
    const int64_t first = (image * layout.height + line) * layout.width;
    if (x.delayed != nullptr)
      norm_output_rows(*x.delayed, first, layout.width, to, kernels);
    else
      copy_line(layout, x.x + first * layout.channels, to, *kernels.f32);
  });
}

void need_gradient(const LineLayout& layout, const OutputGradient& gradient, int64_t image, Lines lines, LineBuffer& buffer,
                   const Kernels& kernels) {
  buffer.need(image, lines, [&](int64_t line, const RowBlocks& to) {
    const int64_t first = (image * layout.height + line) * layout.width;
    const float* const dy = gradient.dy + first * layout.channels;
    if (gradient.delayed != nullptr)
      norm_gradient_rows(*gradient.delayed, first, layout.width, dy, to, kernels);
    else
      copy_line(layout, dy, to, *kernels.f32);
  });
}

// Lines of images that are read or written next: at most `count` of them, from line `first` on, counted over all images.
struct NextLines {
  const float* images;
  int64_t first, count, all, floats;  // floats: of a line
};

// What is fetched while part `index` of `parts` is computed.
Upcoming share(const NextLines& next, int64_t index, int64_t parts) {
  const int64_t floats = std::clamp<int64_t>(next.all - next.first, 0, next.count) * next.floats / parts;
  return {next.images + next.first * next.floats + index * floats, floats};
}

// What the spans of the target lines compute from `source`, for all channels.
void convolve(const DepthwiseSpans& spans, Lines lines, const LineBuffer& source, const float* kernel, const float* bias,
              Activation activation, const NextLines (&next)[2], float* image, const F32Kernels& kernels) {
  const int64_t blocks = spans.layout().blocks, parts = blocks * spans.count();
  int64_t part = 0;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t channel = block * spans.layout().block;
    spans.each(lines, block, [&](DepthwiseSpan span, int64_t line, int64_t to) {
      for (int i = 0; i < 2; ++i) span.upcoming[i] = share(next[i], part, parts);
      ++part;
      kernels.depthwise(span, source.at(line, block), kernel + channel, bias == nullptr ? nullptr : bias + channel,
                        activation_low(activation), activation_high(activation), image + to);
    });
  }
}

// sum += the kernel's gradient of the output lines.
void add_kernel_gradient(const DepthwiseSpans& spans, Lines lines, const LineBuffer& x, const LineBuffer& d, const LineLayout& d_layout,
                         const NextLines (&next)[2], float* sum, const F32Kernels& kernels) {
  for (int64_t block = 0; block < d_layout.blocks; ++block) {
    spans.each(lines, block, [&](DepthwiseSpan span, int64_t line, int64_t) {
      span.y_step = d_layout.block;
      span.y_row = d_layout.floats();
      for (int i = 0; i < 2; ++i) span.upcoming[i] = share(next[i], block, d_layout.blocks);
      kernels.depthwise_gradient(span, x.at(line, block), d.at(lines.first, block) + d_layout.before * d_layout.block,
                                 sum + block * d_layout.block);
    });
  }
}

// All lines of both.
Lines hull(Lines a, Lines b) { return b.first == b.end ? a : Lines{std::min(a.first, b.first), std::max(a.end, b.end)}; }

// sum += the bias's gradient of the output lines: that of a tap which always sees 1.
void add_bias_gradient(Lines lines, const LineBuffer& d, const LineLayout& layout, const float* ones, float* sum,
                       const F32Kernels& kernels) {
  const int64_t offset = 0;
  for (int64_t block = 0; block < layout.blocks; ++block) {
    const DepthwiseSpan span{
        layout.channels_of(block), layout.width, lines.end - lines.first, 1, &offset, &offset, 0, layout.block, 0, layout.floats()};
    kernels.depthwise_gradient(span, ones, d.at(lines.first, block) + layout.before * layout.block, sum + block * layout.block);
  }
}

}  // namespace

size_t depthwise_workspace(const ConvGeometry& g, int64_t max_rows, int threads) {
  Carver workspace(nullptr);
  plan(g, max_rows, g.out_c, threads, workspace);
  return workspace.used();
}

void depthwise_forward(const ConvGeometry& g, int64_t rows, const LayerInput& x, const float* kernel, const float* bias,
                       Activation activation, float* y, OutputStatistics* statistics, const Context& context) {
  const Kernels& kernels = context.kernels;
  const DepthwiseMemory memory = memory_of(g, rows, context);
  const DepthwiseSpans& spans = memory.outward;
  const LayerInput input = repeat_channels(g, rows, x, memory.expanded, context);
  const int64_t in_line = g.in_w * g.out_c, out_line = g.out_w * g.out_c;
  const float* const memory_of_x = input.delayed == nullptr ? input.x : input.delayed->x;
  const Chunks chunks = chunks_of(rows * g.out_h, kChunkElements / out_line + 1);
  if (statistics != nullptr) statistics->chunks = chunks.of(g.out_w);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    LineBuffer in = input_buffer(g, memory, worker);
    each_step(chunks.begin(chunk), chunks.end(chunk), g.out_h, step_lines(g), [&](int64_t image, Lines lines) {
      const Lines sources = spans.sources(lines);
      need_input(spans.layout(), input, image, sources, in, kernels);
      const int64_t count = lines.end - lines.first;
      const NextLines next[2]{{memory_of_x, image * g.in_h + std::min(sources.end, g.in_h), count, rows * g.in_h, in_line},
                              {y, image * g.out_h + lines.end, count, rows * g.out_h, out_line}};
      convolve(spans, lines, in, kernel, bias, activation, next, y + image * g.out_h * out_line, *kernels.f32);
      if (statistics == nullptr) return;
      statistics->take(chunk, (image * g.out_h + lines.first) * g.out_w, count * g.out_w, g.out_c, y, *kernels.f32);
    });
  });
}

void depthwise_backward(const ConvGeometry& g, int64_t rows, const LayerInput& x, const float* kernel, const OutputGradient& gradient,
                        const ConvGradients& targets, const Context& context) {
  if (repeats(g) && targets.dx != nullptr && targets.d_kernel != nullptr) {  // both would need the memory of repeated channels
    depthwise_backward(g, rows, x, kernel, gradient, {nullptr, targets.d_kernel, targets.d_bias}, context);
    depthwise_backward(g, rows, x, kernel, gradient, {targets.dx}, context);
    return;
  }
  const Kernels& kernels = context.kernels;
  DepthwiseMemory memory = memory_of(g, rows, context);
  memory.inward.fill();
  const LineLayout &x_layout = memory.outward.layout(), &d_layout = memory.inward.layout();
  LineBuffer::clear_edges(d_layout, context.pool.threads() * gradient_lines(g), memory.d_lines);
  std::fill(memory.ones, memory.ones + d_layout.block, 1.0f);
  const LayerInput input = targets.d_kernel == nullptr ? x : repeat_channels(g, rows, x, memory.expanded, context);
  float* const dx = targets.dx != nullptr && repeats(g) ? memory.expanded : targets.dx;
  NormSums* const sums = repeats(g) ? nullptr : targets.sums;
  const int64_t in_line = g.in_w * g.out_c, out_line = g.out_w * g.out_c, size = g.kernel_h * g.kernel_w * g.out_c;
  const int64_t all = rows * g.out_h;
  const float* const memory_of_x = input.delayed == nullptr ? input.x : input.delayed->x;
  const Chunks chunks = chunks_of(all, std::max((all + kMostPartials - 1) / kMostPartials, kChunkElements / out_line + 1));
  if (sums != nullptr) sums->chunks = chunks.count;
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    float* const partial = memory.partials + chunk * size;
    float* const bias_sum = memory.bias_partials + chunk * g.out_c;
    std::memset(partial, 0, sizeof(float) * size);
    std::memset(bias_sum, 0, sizeof(float) * g.out_c);
    if (sums != nullptr) sums->start(chunk);
    LineBuffer in = input_buffer(g, memory, worker), d = gradient_buffer(g, memory, worker);
    each_step(chunks.begin(chunk), chunks.end(chunk), g.out_h, step_lines(g), [&](int64_t image, Lines lines) {
      // The lines of the input that belong to these; their gradients need neighbours too.
      const Lines own{std::min(lines.first * g.stride_h, g.in_h), lines.end == g.out_h ? g.in_h : std::min(lines.end * g.stride_h, g.in_h)};
      const Lines read = dx == nullptr ? lines : hull(lines, memory.inward.sources(own));
      need_gradient(d_layout, gradient, image, read, d, kernels);
      if (targets.d_kernel != nullptr) {
        need_input(x_layout, input, image, memory.outward.sources(lines), in, kernels);
        const int64_t first = image * g.out_h + std::min(read.end, g.out_h), count = lines.end - lines.first;
        const NextLines next[2]{{gradient.dy, first, count, all, out_line},
                                {gradient.delayed == nullptr ? gradient.dy : gradient.delayed->x, first, count, all, out_line}};
        add_kernel_gradient(memory.outward, lines, in, d, d_layout, next, partial, *kernels.f32);
      }
      if (dx != nullptr) {
        const int64_t first = image * g.in_h + own.end, count = own.end - own.first;
        const NextLines next[2]{{memory_of_x, first, count, rows * g.in_h, in_line}, {dx, first, count, rows * g.in_h, in_line}};
        convolve(memory.inward, own, d, kernel, nullptr, Activation::none, next, dx + image * g.in_h * in_line, *kernels.f32);
      }
      if (sums != nullptr) {
        const int64_t first = (image * g.in_h + own.first) * g.in_w;
        sums->take(chunk, first, (own.end - own.first) * g.in_w, dx + first * g.in_c, kernels);
      }
      if (targets.d_bias != nullptr) add_bias_gradient(lines, d, d_layout, memory.ones, bias_sum, *kernels.f32);
    });
  });
  if (targets.d_kernel != nullptr) sum_partials(size, chunks.count, memory.partials, targets.d_kernel, context);
  if (targets.d_bias != nullptr) sum_partials(g.out_c, chunks.count, memory.bias_partials, targets.d_bias, context);
  if (dx != targets.dx) sum_repeated_channels(g, rows, dx, targets.dx, context);
}

}  // namespace pcqat
