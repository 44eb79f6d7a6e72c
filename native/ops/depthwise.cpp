#include <algorithm>
#include <cstring>

#include "ops/conv.h"
#include "ops/depthwise_spans.h"
#include "ops/finish.h"
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
// Most lines of the input that they read, and of the output's gradient that they and their input lines read.
int64_t input_lines(const ConvGeometry& g) {
  return std::min(g.in_h, (step_lines(g) - 1) * g.stride_h + (g.kernel_h - 1) * g.dilation_h + 1);
}
int64_t gradient_lines(const ConvGeometry& g) {
  return std::min(g.out_h, step_lines(g) + ((g.kernel_h - 1) * g.dilation_h + g.pad_top) / g.stride_h + 3);
}

struct DepthwiseMemory {
  DepthwiseSpans spans, inward;  // inward: of the gradient of the input, not filled yet
  float* x_lines;                // per worker
  float* d_lines;                // per worker
  float* partials;
  float* bias_partials;  // per chunk, then per worker
  float* expanded;       // x or dx with every channel repeated `multiplier` times
};

DepthwiseMemory plan(const ConvGeometry& g, int64_t rows, int threads, Carver& workspace) {
  const int64_t size = g.kernel_h * g.kernel_w * g.out_c;
  DepthwiseSpans spans(g, false, workspace), inward(g, true, workspace);
  float* x_lines = workspace.take<float>(threads * input_lines(g) * g.in_w * g.out_c);
  float* d_lines = workspace.take<float>(threads * gradient_lines(g) * g.out_w * g.out_c);
  float* partials = workspace.take<float>(kMostPartials * size);
  float* bias_partials = workspace.take<float>((kMostPartials + threads) * g.out_c);
  float* expanded = workspace.take<float>(g.out_c == g.in_c ? 0 : rows * g.in_h * g.in_w * g.out_c);
  return {spans, inward, x_lines, d_lines, partials, bias_partials, expanded};
}

DepthwiseMemory memory_of(const ConvGeometry& g, int64_t rows, const Context& context) {
  Carver workspace(context.workspace);
  DepthwiseMemory memory = plan(g, rows, context.pool.threads(), workspace);
  memory.spans.fill();
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

LineBuffer input_buffer(const ConvGeometry& g, const LayerInput& x, const DepthwiseMemory& memory, int worker) {
  const int64_t line = g.in_w * g.out_c, capacity = input_lines(g);
  return {g.in_h, line, x.delayed == nullptr ? x.x : nullptr, memory.x_lines + worker * capacity * line, capacity};
}

// What the output lines `lines` read.
void need_input(const ConvGeometry& g, const LayerInput& x, const DepthwiseSpans& spans, int64_t image, Lines lines, LineBuffer& buffer,
                const Kernels& kernels) {
  buffer.need(image, spans.sources(lines), [&](int64_t first, int64_t count, float* to) {
    norm_output_rows(*x.delayed, (image * g.in_h + first) * g.in_w, count * g.in_w, to, kernels);
  });
}

LineBuffer gradient_buffer(const ConvGeometry& g, const OutputGradient& gradient, const DepthwiseMemory& memory, int worker) {
  const int64_t line = g.out_w * g.out_c, capacity = gradient_lines(g);
  return {g.out_h, line, gradient.delayed == nullptr ? gradient.dy : nullptr, memory.d_lines + worker * capacity * line, capacity};
}

void need_gradient(const ConvGeometry& g, const OutputGradient& gradient, int64_t image, Lines lines, LineBuffer& buffer,
                   const Kernels& kernels) {
  buffer.need(image, lines, [&](int64_t first, int64_t count, float* to) {
    const int64_t row = (image * g.out_h + first) * g.out_w;
    norm_gradient_rows(*gradient.delayed, row, count * g.out_w, gradient.dy + row * g.out_c, to, kernels);
  });
}

// All lines of both.
Lines hull(Lines a, Lines b) { return b.first == b.end ? a : Lines{std::min(a.first, b.first), std::max(a.end, b.end)}; }

}  // namespace

size_t depthwise_workspace(const ConvGeometry& g, int64_t max_rows, int threads) {
  Carver workspace(nullptr);
  plan(g, max_rows, threads, workspace);
  return workspace.used();
}

void depthwise_forward(const ConvGeometry& g, int64_t rows, const LayerInput& x, const float* kernel, const float* bias,
                       Activation activation, float* y, OutputStatistics* statistics, const Context& context) {
  const Kernels& kernels = context.kernels;
  const DepthwiseMemory memory = memory_of(g, rows, context);
  const LayerInput input = repeat_channels(g, rows, x, memory.expanded, context);
  const int64_t out_floats = g.out_h * g.out_w * g.out_c;
  const Chunks chunks = chunks_of(rows * g.out_h, kChunkElements / (g.out_w * g.out_c) + 1);
  if (statistics != nullptr) statistics->chunks = {chunks.total * g.out_w, chunks.size * g.out_w, chunks.count};
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    LineBuffer in = input_buffer(g, input, memory, worker);
    each_step(chunks.begin(chunk), chunks.end(chunk), g.out_h, step_lines(g), [&](int64_t image, Lines lines) {
      need_input(g, input, memory.spans, image, lines, in, kernels);
      memory.spans.each(lines, [&](const DepthwiseSpan& span, int64_t from, int64_t to) {
        kernels.f32->depthwise(span, in.at(image, from), kernel, bias, activation_low(activation), activation_high(activation),
                               y + image * out_floats + to);
      });
      if (statistics == nullptr) return;
      statistics->take(chunk, (image * g.out_h + lines.first) * g.out_w, (lines.end - lines.first) * g.out_w, g.out_c, y, *kernels.f32);
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
  const LayerInput input = targets.d_kernel == nullptr ? x : repeat_channels(g, rows, x, memory.expanded, context);
  float* const dx = targets.dx != nullptr && repeats(g) ? memory.expanded : targets.dx;
  NormSums* const sums = repeats(g) ? nullptr : targets.sums;
  const int64_t in_floats = g.in_h * g.in_w * g.out_c, out_line = g.out_w * g.out_c, size = g.kernel_h * g.kernel_w * g.out_c;
  const int64_t all = rows * g.out_h;
  const Chunks chunks = chunks_of(all, std::max((all + kMostPartials - 1) / kMostPartials, kChunkElements / out_line + 1));
  if (sums != nullptr) sums->chunks = chunks.count;
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    float* const partial = memory.partials + chunk * size;
    float* const bias_sum = memory.bias_partials + chunk * g.out_c;
    std::memset(partial, 0, sizeof(float) * size);
    std::memset(bias_sum, 0, sizeof(float) * g.out_c);
    if (sums != nullptr) sums->start(chunk);
    LineBuffer in = input_buffer(g, input, memory, worker), d = gradient_buffer(g, gradient, memory, worker);
    each_step(chunks.begin(chunk), chunks.end(chunk), g.out_h, step_lines(g), [&](int64_t image, Lines lines) {
      // The lines of the input that belong to these; their gradients need neighbours too.
      const Lines own{std::min(lines.first * g.stride_h, g.in_h), lines.end == g.out_h ? g.in_h : std::min(lines.end * g.stride_h, g.in_h)};
      need_gradient(g, gradient, image, dx == nullptr ? lines : hull(lines, memory.inward.sources(own)), d, kernels);
      if (targets.d_kernel != nullptr) {
        need_input(g, input, memory.spans, image, lines, in, kernels);
        memory.spans.each(lines, [&](const DepthwiseSpan& span, int64_t from, int64_t to) {
          kernels.f32->depthwise_gradient(span, in.at(image, from), d.at(image, to), partial);
        });
      }
      if (dx != nullptr) {
        memory.inward.each(own, [&](const DepthwiseSpan& span, int64_t from, int64_t to) {
          kernels.f32->depthwise(span, d.at(image, from), kernel, nullptr, -kInfinity, kInfinity, dx + image * in_floats + to);
        });
      }
      if (sums != nullptr) {
        const int64_t first = (image * g.in_h + own.first) * g.in_w;
        sums->take(chunk, first, (own.end - own.first) * g.in_w, dx + first * g.in_c, kernels);
      }
      if (targets.d_bias != nullptr) {
        float* const sum = memory.bias_partials + (kMostPartials + worker) * g.out_c;
        kernels.f32->column_sums((lines.end - lines.first) * g.out_w, g.out_c, d.at(image, lines.first * out_line), sum);
        kernels.f32->add(g.out_c, sum, bias_sum);
      }
    });
  });
  if (targets.d_kernel != nullptr) sum_partials(size, chunks.count, memory.partials, targets.d_kernel, context);
  if (targets.d_bias != nullptr) sum_partials(g.out_c, chunks.count, memory.bias_partials, targets.d_bias, context);
  if (dx != targets.dx) sum_repeated_channels(g, rows, dx, targets.dx, context);
}

}  // namespace pcqat
