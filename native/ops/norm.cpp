#include "ops/norm.h"

#include <algorithm>
#include <cmath>

#include "carver.h"
#include "ops/chunks.h"
#include "ops/elementwise.h"
#include "ops/finish.h"
#include "ops/row_blocks.h"
#include "ops/statistics.h"
#include "parallel/thread_pool.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

Chunks row_chunks(int64_t count, int64_t channels) { return chunks_of(count, kChunkElements / channels + 1); }

struct NormMemory {
  OutputStatistics sums;  // backward: of the gradient, and of its products with the input
  ChannelMoments moments;
  float* scale;  // per channel
  float* shift;
};

NormMemory plan(int64_t channels, Carver& workspace) {
  NormMemory memory;
  memory.sums = OutputStatistics::plan(channels, workspace);
  memory.moments.mean = workspace.take<double>(channels);
  memory.moments.deviation = workspace.take<double>(channels);
  memory.moments.low = workspace.take<float>(2 * channels);
  memory.moments.high = memory.moments.low + channels;
  memory.scale = workspace.take<float>(channels);
  memory.shift = workspace.take<float>(channels);
  return memory;
}

NormMemory memory_of(int64_t channels, const Context& context) {
  Carver workspace(context.workspace);
  return plan(channels, workspace);
}

// y = scale * x + shift, the form every pass over the elements uses.
void fold(const BatchNormParameters& p, const float* mean, const float* inverse, float* scale, float* shift) {
  for (int64_t c = 0; c < p.channels; ++c) {
    scale[c] = p.gamma[c] * inverse[c];
    shift[c] = p.beta[c] - mean[c] * scale[c];
  }
}

// body(first, count): channels are independent, a block of them is one chunk.
template <typename Body>
void each_channel_block(int64_t channels, int64_t partials, const Context& context, Body body) {
  const Chunks chunks = chunks_of(channels, kChunkElements / partials + 1, 16);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) { body(chunks.begin(chunk), chunks.length(chunk)); });
}

// Merges the chunks' sums of x.
void merge(const OutputStatistics& sums, int64_t channels, const float* x, const ChannelMoments& moments, const Context& context) {
  each_channel_block(channels, sums.chunks.count, context, [&](int64_t c, int64_t length) {
    const ChannelMoments all{moments.mean + c, moments.deviation + c, moments.low + c, moments.high + c};
    std::fill(all.mean, all.mean + length, 0.0);
    std::fill(all.deviation, all.deviation + length, 0.0);
    std::copy(sums.low + c, sums.low + c + length, all.low);
    std::copy(sums.high + c, sums.high + c + length, all.high);
    for (int64_t chunk = 0; chunk < sums.chunks.count; ++chunk) {
      const int64_t at = chunk * channels + c, begin = sums.chunks.begin(chunk);
      context.kernels.f32->merge_moments(length, static_cast<double>(begin), static_cast<double>(sums.chunks.length(chunk)),
                                         x + begin * channels + c, {sums.sum + at, sums.squares + at, sums.low + at, sums.high + at}, all);
    }
  });
}

// `taken` null: takes the sums. Moves the moving statistics, and gives mean and 1/sqrt(variance + epsilon).
void statistics(const BatchNormParameters& p, int64_t count, const float* x, const OutputStatistics* taken, float* mean, float* inverse,
                NormMemory& memory, const Context& context) {
  if (taken == nullptr) take_statistics(count, p.channels, x, &memory.sums, context);
  merge(taken == nullptr ? memory.sums : *taken, p.channels, x, memory.moments, context);
  const float decay = static_cast<float>(1.0 - p.momentum);
  const double n = static_cast<double>(count), freedom = static_cast<double>(std::max<int64_t>(count - 1, 1));
  for (int64_t c = 0; c < p.channels; ++c) {
    const double sum = memory.moments.deviation[c], deviation = sum > 0 || std::isnan(sum) ? sum : 0;
    mean[c] = static_cast<float>(memory.moments.mean[c]);
    inverse[c] = static_cast<float>(1.0 / std::sqrt(deviation / n + static_cast<double>(p.epsilon)));
    p.moving_mean[c] -= (p.moving_mean[c] - mean[c]) * decay;
    p.moving_variance[c] -= (p.moving_variance[c] - static_cast<float>(deviation / freedom)) * decay;
  }
}

// range null: no fake quantization.
NormOutput output_of(int64_t channels, const float* x, const float* scale, const float* shift, Activation activation,
                     const NudgedRange* range) {
  return {channels, x, scale, shift, make_finish(activation, range), range != nullptr && range->is_zero};
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

NormOutput batch_norm_forward_training(const BatchNormParameters& p, int64_t count, const float* x, const OutputStatistics* taken,
                                       Activation activation, const ActivationQuant& quant, float* saved, NudgedRange* range,
                                       const Context& context) {
  NormMemory memory = memory_of(p.channels, context);
  float *const mean = saved, *const inverse = saved + p.channels, *const scale = saved + 2 * p.channels, *const shift = scale + p.channels;
  statistics(p, count, x, taken, mean, inverse, memory, context);
  fold(p, mean, inverse, scale, shift);
  float low = 0, high = 0;
  if (needs_extremes(quant)) {
    // Through the same kernel as the elements, so with the same rounding.
    context.pool.parallel_for(1, [&](int64_t) {
      const F32Kernels& kernels = *context.kernels.f32;
      float* const extremes = memory.moments.low;
      kernels.scale_shift(2, p.channels, extremes, scale, shift, make_finish(activation, nullptr),
                          plain_rows(extremes, p.channels, kernels));
      kernels.extremes(2 * p.channels, extremes, nullptr, &low, &high);
    });
  }
  NudgedRange nudged;
  const bool quantize = prepare_range(quant, low, high, &nudged);
  if (quantize) *range = nudged;
  return output_of(p.channels, x, scale, shift, activation, quantize ? &nudged : nullptr);
}

void norm_output_rows(const NormOutput& o, int64_t first, int64_t rows, const RowBlocks& y, const Kernels& kernels) {
  if (!o.is_zero) return kernels.f32->scale_shift(rows, o.channels, o.x + first * o.channels, o.scale, o.shift, o.finish, y);
  const int64_t columns = kernels.f32->gemm_columns;
  for (int64_t c = 0; c < o.channels; c += columns) {
    const int64_t length = std::min(columns, o.channels - c);
    for (int64_t row = 0; row < rows; ++row) {
      std::fill_n(y.data + c / columns * y.block + row / y.length * y.line + row % y.length * y.row, length, 0.0f);
    }
  }
}

void norm_output_rows(const NormOutput& o, int64_t first, int64_t rows, float* y, const Kernels& kernels) {
  norm_output_rows(o, first, rows, plain_rows(y, o.channels, *kernels.f32), kernels);
}

void norm_output_all(const NormOutput& o, int64_t count, float* y, const Context& context) {
  const Chunks chunks = row_chunks(count, o.channels);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t first = chunks.begin(chunk);
    norm_output_rows(o, first, chunks.length(chunk), y + first * o.channels, context.kernels);
  });
}

void batch_norm_forward_inference(const BatchNormParameters& p, int64_t count, const float* x, Activation activation,
                                  const ActivationQuant& quant, NudgedRange* range, float* y, const Context& context) {
  const NormMemory memory = memory_of(p.channels, context);
  float* const inverse = memory.moments.low;
  for (int64_t c = 0; c < p.channels; ++c) inverse[c] = 1.0f / std::sqrt(p.moving_variance[c] + p.epsilon);
  fold(p, p.moving_mean, inverse, memory.scale, memory.shift);
  const bool observes = needs_extremes(quant), quantize = !observes && prepare_range(quant, 0, 0, range);
  norm_output_all(output_of(p.channels, x, memory.scale, memory.shift, activation, quantize ? range : nullptr), count, y, context);
  if (observes) activation_forward(count * p.channels, y, Activation::none, quant, range, y, context);
}

void NormSums::start(int64_t chunk) const {
  std::fill(gradient + chunk * channels, gradient + (chunk + 1) * channels, 0.0);
  std::fill(product + chunk * channels, product + (chunk + 1) * channels, 0.0);
}

void NormSums::take(int64_t chunk, int64_t first, int64_t rows, const float* dy, const Kernels& kernels) const {
  kernels.f32->norm_gradient_sums(rows, channels, x + first * channels, scale, shift, mean, pass, dy, gradient + chunk * channels,
                                  product + chunk * channels);
}

NormSums norm_sums(const NormOutput& o, Activation activation, const NudgedRange* range, const float* saved, double* gradient,
                   double* product) {
  return {o.channels, o.x, o.scale, o.shift, saved, make_pass_interval(activation, range), 0, gradient, product};
}

void take_sums(int64_t count, const float* dy, NormSums* sums, const Context& context) {
  const Chunks chunks = row_chunks(count, sums->channels);
  sums->chunks = chunks.count;
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t first = chunks.begin(chunk);
    sums->start(chunk);
    sums->take(chunk, first, chunks.length(chunk), dy + first * sums->channels, context.kernels);
  });
}

NormGradient batch_norm_backward(NormSums sums, int64_t count, float* saved, const float* dy, float* d_gamma, float* d_beta,
                                 const Context& context) {
  const int64_t channels = sums.channels;
  if (sums.chunks == 0) {
    const NormMemory memory = memory_of(channels, context);
    sums.gradient = memory.sums.sum;
    sums.product = memory.sums.squares;
    take_sums(count, dy, &sums, context);
  }
  const float *const mean = saved, *const inverse = saved + channels;
  float *const slope = saved + 4 * channels, *const offset = slope + channels;
  const double n = static_cast<double>(count);
  each_channel_block(channels, sums.chunks, context, [&](int64_t first, int64_t length) {
    double *const sum = sums.gradient + first, *const product = sums.product + first;
    for (int64_t chunk = 1; chunk < sums.chunks; ++chunk) {
      for (int64_t c = 0; c < length; ++c) sum[c] += sum[chunk * channels + c];
      for (int64_t c = 0; c < length; ++c) product[c] += product[chunk * channels + c];
    }
    for (int64_t c = 0; c < length; ++c) {
      const double s = sums.scale[first + c], i = inverse[first + c];
      d_beta[first + c] = static_cast<float>(sum[c]);
      d_gamma[first + c] = static_cast<float>(product[c] * i);
      slope[first + c] = static_cast<float>(-s * i * i * product[c] / n);
      offset[first + c] = static_cast<float>(-s * sum[c] / n);
    }
  });
  return {channels, sums.x, sums.scale, sums.shift, mean, slope, offset, sums.pass};
}

void norm_gradient_rows(const NormGradient& g, int64_t first, int64_t rows, const float* dy, const RowBlocks& dx, const Kernels& kernels) {
  kernels.f32->norm_gradient(rows, g.channels, g.x + first * g.channels, g.scale, g.shift, g.mean, g.pass, g.slope, g.offset, dy, dx);
}

void norm_gradient_rows(const NormGradient& g, int64_t first, int64_t rows, const float* dy, float* dx, const Kernels& kernels) {
  norm_gradient_rows(g, first, rows, dy, plain_rows(dx, g.channels, *kernels.f32), kernels);
}

void norm_gradient_all(const NormGradient& g, int64_t count, const float* dy, float* dx, const Context& context) {
  const Chunks chunks = row_chunks(count, g.channels);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t first = chunks.begin(chunk), at = first * g.channels;
    norm_gradient_rows(g, first, chunks.length(chunk), dy + at, dx + at, context.kernels);
  });
}

const float* settle(const LayerInput& input, int64_t count, const Context& context) {
  if (input.delayed == nullptr) return input.x;
  norm_output_all(*input.delayed, count, input.settled, context);
  return input.settled;
}

const float* settle(const OutputGradient& gradient, int64_t count, const Context& context) {
  if (gradient.delayed == nullptr) return gradient.dy;
  norm_gradient_all(*gradient.delayed, count, gradient.dy, gradient.settled, context);
  return gradient.settled;
}

}  // namespace pcqat
