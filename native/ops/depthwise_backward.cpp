// All gradients of a depthwise convolution in one walk over the lines of its output's gradient. That of the kernel is summed over pixels of
// the input, so that it reads the same windows of the output's gradient as that of the input.
#include <cstring>

#include "ops/conv.h"
#include "ops/depthwise_lines.h"
#include "ops/depthwise_spans.h"
#include "ops/finish.h"
#include "ops/reduce.h"
#include "parallel/thread_pool.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

constexpr int64_t kMostPartials = 32;

// Lines of the output at once, with the lines of the input that belong to them.
int64_t backward_step_lines(const ConvGeometry& g) {
  return std::clamp<int64_t>(kStepFloats / (std::max(g.out_w, g.stride_h * g.in_w) * g.out_c), 1, g.out_h);
}

// The lines of the input that belong to lines of the output.
Lines own_lines(const ConvGeometry& g, Lines lines) {
  return {std::min(lines.first * g.stride_h, g.in_h), lines.end == g.out_h ? g.in_h : std::min(lines.end * g.stride_h, g.in_h)};
}
// Most of them at once.
int64_t most_own_lines(const ConvGeometry& g) {
  return std::min(g.in_h, backward_step_lines(g) * g.stride_h + std::max<int64_t>(g.in_h - g.out_h * g.stride_h, 0));
}
// Most lines of the output's gradient that those and they read, outside of the image too.
int64_t gradient_lines(const ConvGeometry& g, const LineLayout& layout) {
  return std::min(backward_step_lines(g) + 2 * ((g.kernel_h - 1) * g.dilation_h / g.stride_h) + 3, layout.most_lines);
}

struct DepthwiseMemory {
  DepthwiseSpans spans;  // of the gradient of the input
  float* lines;          // per worker: of the output's gradient
  bool* has_edges;       // per worker: of its lines
  float* values;         // per worker: of the input
  float* partials;       // per chunk
  float* bias_partials;
  float* ones;      // of a block
  float* repeated;  // x or dx
};

// columns: channels of a block; the memory is enough for every instruction set's.
DepthwiseMemory plan(const ConvGeometry& g, int64_t rows, int64_t columns, int threads, Carver& workspace) {
  DepthwiseSpans spans(g, true, columns, workspace);
  float* lines = workspace.take<float>(threads * gradient_lines(g, spans.layout()) * spans.layout().most_floats());
  bool* has_edges = workspace.take<bool>(threads);
  float* values = workspace.take<float>(threads * packed_floats(most_own_lines(g) * g.in_w, g.out_c));
  float* partials = workspace.take<float>(kMostPartials * g.kernel_h * g.kernel_w * g.out_c);
  float* bias_partials = workspace.take<float>(kMostPartials * g.out_c);
  float* ones = workspace.take<float>(g.out_c);
  return {spans, lines, has_edges, values, partials, bias_partials, ones, workspace.take<float>(repeated_floats(g, rows))};
}

// All lines of both.
Lines hull(Lines a, Lines b) { return b.first == b.end ? a : Lines{std::min(a.first, b.first), std::max(a.end, b.end)}; }

void need(const LineLayout& layout, const OutputGradient& gradient, int64_t image, Lines lines, LineBuffer& buffer,
          const Kernels& kernels) {
  buffer.need(image, lines, [&](int64_t line, int64_t count, const RowBlocks& to) {
    const int64_t first = (image * layout.height + line) * layout.width;
    const float* const dy = gradient.dy + first * layout.channels;
    if (gradient.delayed != nullptr)
      norm_gradient_rows(*gradient.delayed, first, count * layout.width, dy, to, kernels);
    else
      copy_lines(layout, dy, count, to, *kernels.f32);
  });
}

// sum += the bias's gradient of lines of the output: that of a tap which always sees 1.
void add_bias_gradient(Lines lines, const LineBuffer& d, const LineLayout& layout, const float* ones, float* sum,
                       const F32Kernels& kernels) {
  const int64_t offset = 0;
  for (int64_t block = 0; block < layout.blocks; ++block) {
    const DepthwiseSpan span{
        layout.channels_of(block), layout.width, lines.end - lines.first, 1, &offset, &offset, 0, layout.block, 0, layout.floats()};
    kernels.depthwise_gradient(span, ones, d.at(lines.first, block) + layout.before * layout.block, sum + block * layout.block);
  }
}

void sum_repeated_channels(const ConvGeometry& g, int64_t rows, const float* repeated, float* dx, const Context& context) {
  const int64_t multiplier = g.out_c / g.in_c;
  const Chunks chunks = chunks_of(rows * g.in_h * g.in_w * g.in_c, kChunkElements);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) {
      float sum = 0;
      for (int64_t m = 0; m < multiplier; ++m) sum += repeated[i * multiplier + m];
      dx[i] = sum;
    }
  });
}

}  // namespace

size_t depthwise_backward_workspace(const ConvGeometry& g, int64_t max_rows, int threads) {
  Carver workspace(nullptr);
  plan(g, max_rows, g.out_c, threads, workspace);
  return workspace.used();
}

void depthwise_backward(const ConvGeometry& g, int64_t rows, const LayerInput& x, const float* kernel, const OutputGradient& gradient,
                        const ConvGradients& targets, const Context& context) {
  const bool repeats = repeats_channels(g);
  if (repeats && targets.dx != nullptr && targets.d_kernel != nullptr) {  // both would need the memory of repeated channels
    depthwise_backward(g, rows, x, kernel, gradient, {nullptr, targets.d_kernel, targets.d_bias}, context);
    depthwise_backward(g, rows, x, kernel, gradient, {targets.dx}, context);
    return;
  }
  const F32Kernels& kernels = *context.kernels.f32;
  const int threads = context.pool.threads();
  Carver workspace(context.workspace);
  DepthwiseMemory memory = plan(g, rows, kernels.gemm_columns, threads, workspace);
  DepthwiseSpans& spans = memory.spans;
  const LineLayout& layout = spans.layout();
  spans.fill();
  const int64_t most_lines = gradient_lines(g, layout);
  std::fill(memory.has_edges, memory.has_edges + threads, false);
  std::fill(memory.ones, memory.ones + layout.block, 1.0f);
  const LayerInput input = targets.d_kernel == nullptr ? x : repeat_channels(g, rows, x, memory.repeated, context);
  float* const dx = targets.dx != nullptr && repeats ? memory.repeated : targets.dx;
  NormSums* const sums = repeats ? nullptr : targets.sums;
  const int64_t in_line = g.in_w * g.out_c, out_line = g.out_w * g.out_c, size = g.kernel_h * g.kernel_w * g.out_c;
  const int64_t all_in = rows * g.in_h, all = rows * g.out_h;
  const float* const memory_of_x = input.delayed == nullptr ? input.x : input.delayed->x;
  const float* const memory_of_norm = gradient.delayed == nullptr ? gradient.dy : gradient.delayed->x;
  const Chunks chunks = chunks_of(all, std::max((all + kMostPartials - 1) / kMostPartials, kChunkElements / out_line + 1), 1,
                                  kTwoChunksElements / out_line + 1);
  if (sums != nullptr) sums->chunks = chunks.count;
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    float* const partial = memory.partials + chunk * size;
    float* const bias_sum = memory.bias_partials + chunk * g.out_c;
    float* const values = memory.values + worker * packed_floats(most_own_lines(g) * g.in_w, g.out_c);
    std::memset(partial, 0, sizeof(float) * size);
    std::memset(bias_sum, 0, sizeof(float) * g.out_c);
    if (sums != nullptr) sums->start(chunk);
    LineBuffer d(layout, memory.lines + worker * most_lines * layout.floats(), most_lines, memory.has_edges[worker]);
    each_step(chunks.begin(chunk), chunks.end(chunk), g.out_h, backward_step_lines(g), [&](int64_t image, Lines lines) {
      const Lines own = own_lines(g, lines), read = hull(lines, spans.sources(own));
      const int64_t count = lines.end - lines.first, own_count = own.end - own.first;
      const int64_t next_out = image * g.out_h + std::min(read.end, g.out_h), next_in = image * g.in_h + own.end;
      const NextLines next_dy{gradient.dy, next_out, count, all, out_line}, next_norm{memory_of_norm, next_out, count, all, out_line};
      const NextLines next_x{memory_of_x, next_in, own_count, all_in, in_line}, next_dx{dx, next_in, own_count, all_in, in_line};
      const int64_t first = (image * g.in_h + own.first) * g.in_w;  // pixel of the input
      need(layout, gradient, image, read, d, context.kernels);
      // The input's pixels too lie block by block, or its rows would compete for the same lines of the cache.
      const int64_t own_pixels = own_count * g.in_w;
      if (input.delayed != nullptr && targets.d_kernel != nullptr) {
        norm_output_rows(*input.delayed, first, own_pixels, {values, layout.block, own_pixels * layout.block}, context.kernels);
      }
      spans.each(own, [&](DepthwiseSpan span, const DepthwisePlace& place) {
        const float* const window = d.at(place.line, place.block);
        const int64_t pixel = place.pixel - own.first * g.in_w;
        if (dx != nullptr) {
          span.upcoming[0] = next_x.share(place.part, place.parts);
          span.upcoming[1] = next_dx.share(place.part, place.parts);
          kernels.depthwise(span, window, kernel + place.channel, nullptr, -kInfinity, kInfinity,
                            dx + (first + pixel) * g.out_c + place.channel);
        }
        if (targets.d_kernel == nullptr) return;
        span.upcoming[0] = next_dy.share(place.part, place.parts);
        span.upcoming[1] = next_norm.share(place.part, place.parts);
        if (input.delayed == nullptr) {
          kernels.depthwise_gradient(span, window, input.x + (first + pixel) * g.out_c + place.channel, partial + place.channel);
          return;
        }
        span.y_step = span.y_step / g.out_c * layout.block;
        span.y_row = span.y_row / g.out_c * layout.block;
        kernels.depthwise_gradient(span, window, values + (place.block * own_pixels + pixel) * layout.block, partial + place.channel);
      });
      if (sums != nullptr) sums->take(chunk, first, own_pixels, dx + first * g.out_c, context.kernels);
      if (targets.d_bias != nullptr) add_bias_gradient(lines, d, layout, memory.ones, bias_sum, kernels);
    });
  });
  if (targets.d_kernel != nullptr) sum_partials(size, chunks.count, memory.partials, targets.d_kernel, context);
  if (targets.d_bias != nullptr) sum_partials(g.out_c, chunks.count, memory.bias_partials, targets.d_bias, context);
  if (dx != targets.dx) sum_repeated_channels(g, rows, dx, targets.dx, context);
}

}  // namespace pcqat
