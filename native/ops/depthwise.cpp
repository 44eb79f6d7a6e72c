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
// Image by image pays where there are enough of them to share, each small enough for the second-level cache.
constexpr int64_t kFewImages = 8;
constexpr int64_t kImageFloats = 131072;

bool goes_by_image(const ConvGeometry& g, int64_t rows) {
  return g.out_c == g.in_c && rows >= kFewImages && g.out_h * g.out_w * g.out_c <= kImageFloats;
}

struct DepthwiseMemory {
  DepthwiseSpans spans;
  float* partials;
  float* bias_partials;
  float* expanded;  // x or dx with every channel repeated `multiplier` times
};

DepthwiseMemory plan(const ConvGeometry& g, int64_t rows, bool backward, int threads, Carver& workspace) {
  const int64_t size = g.kernel_h * g.kernel_w * g.out_c;
  DepthwiseSpans spans(g, backward, threads, workspace);
  float* partials = workspace.take<float>(kMostPartials * size);
  float* bias_partials = workspace.take<float>(std::max<int64_t>(kMostPartials, threads) * g.out_c);
  float* expanded = workspace.take<float>(g.out_c == g.in_c ? 0 : rows * g.in_h * g.in_w * g.out_c);
  return {spans, partials, bias_partials, expanded};
}

DepthwiseMemory memory_of(const ConvGeometry& g, int64_t rows, bool backward, const Context& context) {
  Carver workspace(context.workspace);
  DepthwiseMemory memory = plan(g, rows, backward, context.pool.threads(), workspace);
  memory.spans.fill();
  return memory;
}

// A channel multiplier is handled as multiplier 1 on an input whose channels are repeated.
const float* repeat_channels(const ConvGeometry& g, int64_t rows, const float* x, float* expanded, const Context& context) {
  const int64_t multiplier = g.out_c / g.in_c;
  if (multiplier == 1) return x;
  const Chunks chunks = chunks_of(rows * g.in_h * g.in_w * g.in_c, kChunkElements);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) {
      for (int64_t m = 0; m < multiplier; ++m) expanded[i * multiplier + m] = x[i];
    }
  });
  return expanded;
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

}  // namespace

size_t depthwise_workspace(const ConvGeometry& g, int64_t max_rows, int threads) {
  Carver workspace(nullptr);
  plan(g, max_rows, false, threads, workspace);
  if (goes_by_image(g, max_rows)) {
    plan(g, max_rows, true, threads, workspace);
    workspace.take<float>(threads * g.out_h * g.out_w * g.out_c);
  }
  return workspace.used();
}

void depthwise_forward(const ConvGeometry& g, int64_t rows, const float* x, const float* kernel, const float* bias, Activation activation,
                       float* y, OutputStatistics* statistics, const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const DepthwiseMemory memory = memory_of(g, rows, false, context);
  const float* in = repeat_channels(g, rows, x, memory.expanded, context);
  const int64_t in_floats = g.in_h * g.in_w * g.out_c, out_floats = g.out_h * g.out_w * g.out_c;
  // Rows between two looks at the output for its statistics: about 128 KB of it.
  const int64_t lines = std::max<int64_t>(32768 / (g.out_w * g.out_c), 1);
  const Chunks chunks = chunks_of(rows * g.out_h, kChunkElements / (g.out_w * g.out_c) + 1);
  if (statistics != nullptr) statistics->chunks = {chunks.total * g.out_w, chunks.size * g.out_w, chunks.count};
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const int64_t image = row / g.out_h;
      memory.spans.each(row % g.out_h, worker, [&](const DepthwiseSpan& span, int64_t from, int64_t to) {
        kernels.depthwise(span, in + image * in_floats + from, kernel, bias, activation_low(activation), activation_high(activation),
                          y + image * out_floats + to);
      });
      const int64_t taken = (row + 1 - chunks.begin(chunk)) % lines;
      if (statistics == nullptr || (taken != 0 && row + 1 < chunks.end(chunk))) continue;
      const int64_t fresh = taken == 0 ? lines : taken;
      statistics->take(chunk, (row + 1 - fresh) * g.out_w, fresh * g.out_w, g.out_c, y, kernels);
    }
  });
}

void depthwise_backward_input(const ConvGeometry& g, int64_t rows, const float* dy, const float* kernel, float* dx,
                              const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const DepthwiseMemory memory = memory_of(g, rows, true, context);
  const bool repeated = g.out_c != g.in_c;
  float* target = repeated ? memory.expanded : dx;
  const int64_t in_floats = g.in_h * g.in_w * g.out_c, out_floats = g.out_h * g.out_w * g.out_c;
  const Chunks chunks = chunks_of(rows * g.in_h, kChunkElements / (g.in_w * g.out_c) + 1);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const int64_t image = row / g.in_h;
      memory.spans.each(row % g.in_h, worker, [&](const DepthwiseSpan& span, int64_t from, int64_t to) {
        kernels.depthwise(span, dy + image * out_floats + from, kernel, nullptr, -kInfinity, kInfinity, target + image * in_floats + to);
      });
    }
  });
  if (repeated) sum_repeated_channels(g, rows, target, dx, context);
}

void depthwise_backward(const ConvGeometry& g, int64_t rows, const float* x, const float* kernel, const OutputGradient& gradient,
                        const ConvGradients& targets, const Context& context) {
  const int64_t in_floats = g.in_h * g.in_w * g.out_c, out_floats = g.out_h * g.out_w * g.out_c;
  if (!goes_by_image(g, rows)) {
    const float* dy = settle(gradient, rows * g.out_h * g.out_w, context);
    if (targets.d_kernel != nullptr) depthwise_backward_kernel(g, rows, x, dy, targets.d_kernel, targets.d_bias, context);
    if (targets.dx != nullptr) depthwise_backward_input(g, rows, dy, kernel, targets.dx, context);
    return;
  }
  const F32Kernels& kernels = *context.kernels.f32;
  Carver workspace(context.workspace);
  DepthwiseMemory inward = plan(g, rows, true, context.pool.threads(), workspace);
  DepthwiseMemory outward = plan(g, rows, false, context.pool.threads(), workspace);
  float* const images = workspace.take<float>(context.pool.threads() * out_floats);
  inward.spans.fill();
  outward.spans.fill();
  const int64_t size = g.kernel_h * g.kernel_w * g.out_c, pixels = g.out_h * g.out_w;
  const Chunks chunks = chunks_of(rows, std::max((rows + kMostPartials - 1) / kMostPartials, kChunkElements / out_floats + 1));
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    float* partial = outward.partials + chunk * size;
    float* bias_sum = outward.bias_partials + chunk * g.out_c;
    std::memset(partial, 0, sizeof(float) * size);
    std::memset(bias_sum, 0, sizeof(float) * g.out_c);
    for (int64_t image = chunks.begin(chunk); image < chunks.end(chunk); ++image) {
      const float* d = gradient.dy + image * out_floats;
      if (gradient.delayed != nullptr) {
        float* settled = images + worker * out_floats;
        norm_gradient_rows(*gradient.delayed, image * pixels, pixels, d, settled, context.kernels);
        d = settled;
      }
      for (int64_t row = 0; row < g.out_h && targets.d_kernel != nullptr; ++row) {
        outward.spans.each(row, worker, [&](const DepthwiseSpan& span, int64_t from, int64_t to) {
          kernels.depthwise_gradient(span, x + image * in_floats + from, d + to, partial);
        });
      }
      for (int64_t row = 0; row < g.in_h && targets.dx != nullptr; ++row) {
        inward.spans.each(row, worker, [&](const DepthwiseSpan& span, int64_t from, int64_t to) {
          kernels.depthwise(span, d + from, kernel, nullptr, -kInfinity, kInfinity, targets.dx + image * in_floats + to);
        });
      }
      if (targets.d_bias != nullptr) {
        float* sum = inward.bias_partials + worker * g.out_c;
        kernels.column_sums(pixels, g.out_c, d, sum);
        kernels.add(g.out_c, sum, bias_sum);
      }
    }
  });
  if (targets.d_kernel != nullptr) sum_partials(size, chunks.count, outward.partials, targets.d_kernel, context);
  if (targets.d_bias != nullptr) sum_partials(g.out_c, chunks.count, outward.bias_partials, targets.d_bias, context);
}

void depthwise_backward_kernel(const ConvGeometry& g, int64_t rows, const float* x, const float* dy, float* d_kernel, float* d_bias,
                               const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const DepthwiseMemory memory = memory_of(g, rows, false, context);
  const float* in = repeat_channels(g, rows, x, memory.expanded, context);
  const int64_t in_floats = g.in_h * g.in_w * g.out_c, out_floats = g.out_h * g.out_w * g.out_c, size = g.kernel_h * g.kernel_w * g.out_c;
  const int64_t all = rows * g.out_h;
  const Chunks chunks = chunks_of(all, std::max((all + kMostPartials - 1) / kMostPartials, kChunkElements / (g.out_w * g.out_c) + 1));
  context.pool.parallel_for(chunks.count, [&](int64_t chunk, int worker) {
    float* partial = memory.partials + chunk * size;
    std::memset(partial, 0, sizeof(float) * size);
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const int64_t image = row / g.out_h;
      memory.spans.each(row % g.out_h, worker, [&](const DepthwiseSpan& span, int64_t from, int64_t to) {
        kernels.depthwise_gradient(span, in + image * in_floats + from, dy + image * out_floats + to, partial);
      });
    }
    if (d_bias != nullptr) {
      kernels.column_sums(chunks.length(chunk) * g.out_w, g.out_c, dy + chunks.begin(chunk) * g.out_w * g.out_c,
                          memory.bias_partials + chunk * g.out_c);
    }
  });
  sum_partials(size, chunks.count, memory.partials, d_kernel, context);
  if (d_bias != nullptr) sum_partials(g.out_c, chunks.count, memory.bias_partials, d_bias, context);
}

}  // namespace pcqat
