#include "ops/norm.h"

#include <algorithm>
#include <cmath>

#include "carver.h"
#include "ops/chunks.h"
#include "ops/elementwise.h"
#include "ops/finish.h"
#include "ops/statistics.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

Chunks row_chunks(int64_t count, int64_t channels) { return chunks_of(count, kChunkElements / channels + 1); }

struct NormMemory {
  OutputStatistics sums;  // backward: of the gradient, and of its products with the input
  float* scale;           // per channel, as are the rest
  float* shift;
  float* slope;
  float* offset;
  float* extremes;  // [2, channels]
};

NormMemory plan(int64_t channels, Carver& workspace) {
  NormMemory memory;
  memory.sums = OutputStatistics::plan(channels, workspace);
  memory.scale = workspace.take<float>(channels);
  memory.shift = workspace.take<float>(channels);
  memory.slope = workspace.take<float>(channels);
  memory.offset = workspace.take<float>(channels);
  memory.extremes = workspace.take<float>(2 * channels);
  return memory;
}

NormMemory memory_of(int64_t channels, const Context& context) {
  Carver workspace(context.workspace);
  return plan(channels, workspace);
}

// y = scale * x + shift, the form every pass over the elements uses.
void fold(const BatchNormParameters& p, const float* mean, const float* inverse, const NormMemory& memory) {
  for (int64_t c = 0; c < p.channels; ++c) {
    memory.scale[c] = p.gamma[c] * inverse[c];
    memory.shift[c] = p.beta[c] - mean[c] * memory.scale[c];
  }
}

// Channels are independent: a block of them is one chunk.
template <typename Body>
void each_channel(int64_t channels, int64_t partials, const Context& context, Body body) {
  const Chunks chunks = chunks_of(channels, kChunkElements / partials + 1, 16);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t c = chunks.begin(chunk); c < chunks.end(chunk); ++c) body(c);
  });
}

// `taken` null: takes them.
void statistics(const BatchNormParameters& p, int64_t count, const float* x, const OutputStatistics* taken, float* saved,
                const NormMemory& memory, const Context& context) {
  const int64_t channels = p.channels;
  OutputStatistics sums = taken == nullptr ? memory.sums : *taken;
  if (taken == nullptr) take_statistics(count, channels, x, &sums, context);
  const Chunks& chunks = sums.chunks;
  const float decay = static_cast<float>(1.0 - p.momentum);
  each_channel(channels, chunks.count, context, [&](int64_t c) {
    double total = 0;
    float low = sums.low[c], high = sums.high[c];
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      const int64_t at = chunk * channels + c;
      const double n = static_cast<double>(chunks.length(chunk)), sum = sums.sum[at];
      sums.squares[at] -= sum * sum / n;  // around the chunk's mean
      sums.sum[at] = x[chunks.begin(chunk) * channels + c] + sum / n;
      total += n * sums.sum[at];
      low = std::min(low, sums.low[at]);
      high = std::max(high, sums.high[at]);
    }
    const double mean = total / static_cast<double>(count);
    double deviation = 0;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      const int64_t at = chunk * channels + c;
      const double difference = sums.sum[at] - mean;
      deviation += sums.squares[at] + static_cast<double>(chunks.length(chunk)) * difference * difference;
    }
    deviation = deviation > 0 || std::isnan(deviation) ? deviation : 0;
    saved[c] = static_cast<float>(mean);
    saved[channels + c] = static_cast<float>(1.0 / std::sqrt(deviation / static_cast<double>(count) + static_cast<double>(p.epsilon)));
    const float unbiased = static_cast<float>(deviation / static_cast<double>(std::max<int64_t>(count - 1, 1)));
    p.moving_mean[c] -= (p.moving_mean[c] - saved[c]) * decay;
    p.moving_variance[c] -= (p.moving_variance[c] - unbiased) * decay;
    memory.extremes[c] = low;
    memory.extremes[channels + c] = high;
  });
}

// range null: no fake quantization.
void apply(int64_t channels, int64_t count, const float* x, const NormMemory& memory, Activation activation, const NudgedRange* range,
           float* y, const Context& context) {
  if (range != nullptr && range->is_zero) {  // zero even for NaN
    std::fill(y, y + count * channels, 0.0f);
    return;
  }
  const Finish finish = make_finish(activation, range);
  const Chunks chunks = row_chunks(count, channels);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t at = chunks.begin(chunk) * channels;
    context.kernels.f32->scale_shift(chunks.length(chunk), channels, x + at, memory.scale, memory.shift, finish, y + at);
  });
}

}  // namespace

void take_statistics(int64_t count, int64_t channels, const float* x, OutputStatistics* statistics, const Context& context) {
  const Chunks chunks = row_chunks(count, channels);
  statistics->chunks = chunks;
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    statistics->take(chunk, chunks.begin(chunk), chunks.length(chunk), channels, x, *context.kernels.f32);
  });
}

size_t batch_norm_workspace(int64_t channels, int64_t, int) {
  Carver workspace(nullptr);
  plan(channels, workspace);
  return workspace.used();
}

void batch_norm_forward_training(const BatchNormParameters& p, int64_t count, const float* x, const OutputStatistics* taken,
                                 Activation activation, const ActivationQuant& quant, float* saved, NudgedRange* range, float* y,
                                 const Context& context) {
  const NormMemory memory = memory_of(p.channels, context);
  statistics(p, count, x, taken, saved, memory, context);
  fold(p, saved, saved + p.channels, memory);
  float low = 0, high = 0;
  if (needs_extremes(quant)) {
    // Through the same kernel as the elements, so with the same rounding.
    context.pool.parallel_for(1, [&](int64_t) {
      const F32Kernels& kernels = *context.kernels.f32;
      kernels.scale_shift(2, p.channels, memory.extremes, memory.scale, memory.shift, make_finish(activation, nullptr), memory.extremes);
      kernels.extremes(2 * p.channels, memory.extremes, nullptr, &low, &high);
    });
  }
  NudgedRange nudged;
  const bool quantize = prepare_range(quant, low, high, &nudged);
  if (quantize) *range = nudged;
  apply(p.channels, count, x, memory, activation, quantize ? &nudged : nullptr, y, context);
}

void batch_norm_forward_inference(const BatchNormParameters& p, int64_t count, const float* x, Activation activation,
                                  const ActivationQuant& quant, NudgedRange* range, float* y, const Context& context) {
  const NormMemory memory = memory_of(p.channels, context);
  for (int64_t c = 0; c < p.channels; ++c) memory.slope[c] = 1.0f / std::sqrt(p.moving_variance[c] + p.epsilon);
  fold(p, p.moving_mean, memory.slope, memory);
  if (!needs_extremes(quant)) {
    const bool quantize = prepare_range(quant, 0, 0, range);
    apply(p.channels, count, x, memory, activation, quantize ? range : nullptr, y, context);
    return;
  }
  apply(p.channels, count, x, memory, activation, nullptr, y, context);
  activation_forward(count * p.channels, y, Activation::none, quant, range, y, context);
}

NormGradient batch_norm_backward_sums(const BatchNormParameters& p, int64_t count, const float* x, Activation activation,
                                      const NudgedRange* range, float* saved, const float* dy, float* d_gamma, float* d_beta,
                                      const Context& context) {
  const int64_t channels = p.channels;
  const F32Kernels& kernels = *context.kernels.f32;
  NormMemory memory = memory_of(channels, context);
  const PassInterval pass = make_pass_interval(activation, range);
  const float* mean = saved;
  const float* inverse = saved + channels;
  memory.scale = saved + 2 * channels;
  memory.shift = saved + 3 * channels;
  memory.slope = saved + 4 * channels;
  memory.offset = saved + 5 * channels;
  fold(p, mean, inverse, memory);
  const Chunks chunks = row_chunks(count, channels);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t at = chunks.begin(chunk) * channels;
    kernels.norm_gradient_sums(chunks.length(chunk), channels, x + at, memory.scale, memory.shift, mean, pass, dy + at,
                               memory.sums.sum + chunk * channels, memory.sums.squares + chunk * channels);
  });
  each_channel(channels, chunks.count, context, [&](int64_t c) {
    double sum = 0, product = 0;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      sum += memory.sums.sum[chunk * channels + c];
      product += memory.sums.squares[chunk * channels + c];
    }
    const double n = static_cast<double>(count), s = memory.scale[c], i = inverse[c];
    d_beta[c] = static_cast<float>(sum);
    d_gamma[c] = static_cast<float>(product * i);
    memory.slope[c] = static_cast<float>(-s * i * i * product / n);
    memory.offset[c] = static_cast<float>(-s * sum / n);
  });
  return {channels, x, memory.scale, memory.shift, mean, memory.slope, memory.offset, pass};
}

void norm_gradient_rows(const NormGradient& g, int64_t first, int64_t rows, const float* dy, float* dx, const Kernels& kernels) {
  kernels.f32->norm_gradient(rows, g.channels, g.x + first * g.channels, g.scale, g.shift, g.mean, g.pass, g.slope, g.offset, dy, dx);
}

void norm_gradient_all(const NormGradient& g, int64_t count, const float* dy, float* dx, const Context& context) {
  const Chunks chunks = row_chunks(count, g.channels);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t first = chunks.begin(chunk), at = first * g.channels;
    norm_gradient_rows(g, first, chunks.length(chunk), dy + at, dx + at, context.kernels);
  });
}

const float* settle(const OutputGradient& gradient, int64_t count, const Context& context) {
  if (gradient.delayed == nullptr) return gradient.dy;
  norm_gradient_all(*gradient.delayed, count, gradient.dy, gradient.settled, context);
  return gradient.settled;
}

}  // namespace pcqat
