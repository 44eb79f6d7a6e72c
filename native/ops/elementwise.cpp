#include "ops/elementwise.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "ops/chunks.h"
#include "ops/finish.h"
#include "parallel/thread_pool.h"
#include "philox4x32.h"
#include "simd/f32_kernels.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

Chunks element_chunks(int64_t count) { return chunks_of(count, kChunkElements, 64); }

struct Extremes {
  float low = 0, high = 0;
};

// Of the activation of a + b (b may be null): the activation is monotone.
Extremes extremes_after(int64_t count, const float* a, const float* b, Activation activation, const Context& context) {
  if (count == 0) return {};
  float low[kMaxChunks], high[kMaxChunks];
  const Chunks chunks = element_chunks(count);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t at = chunks.begin(chunk);
    context.kernels.f32->extremes(chunks.length(chunk), a + at, b == nullptr ? nullptr : b + at, &low[chunk], &high[chunk]);
  });
  return {activate(*std::min_element(low, low + chunks.count), activation),
          activate(*std::max_element(high, high + chunks.count), activation)};
}

// y = FQ(activation(a + b)), b may be null.
void forward(int64_t count, const float* a, const float* b, Activation activation, const ActivationQuant& quant, NudgedRange* range,
             float* y, const Context& context) {
  Extremes extremes;
  if (needs_extremes(quant)) extremes = extremes_after(count, a, b, activation, context);
  NudgedRange nudged;
  const bool quantize = prepare_range(quant, extremes.low, extremes.high, &nudged);
  if (quantize && range != nullptr) *range = nudged;
  if (quantize && nudged.is_zero) {  // zero even for NaN
    std::fill(y, y + count, 0.0f);
    return;
  }
  const Finish finish = make_finish(activation, quantize ? &nudged : nullptr);
  const Chunks chunks = element_chunks(count);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t at = chunks.begin(chunk);
    context.kernels.f32->finish(chunks.length(chunk), a + at, b == nullptr ? nullptr : b + at, finish, y + at);
  });
}

void backward(int64_t count, const float* a, const float* b, const PassInterval& pass, const float* dy, float* dx, const Context& context) {
  const Chunks chunks = element_chunks(count);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t at = chunks.begin(chunk);
    context.kernels.f32->pass_gradient(chunks.length(chunk), a + at, b == nullptr ? nullptr : b + at, pass, dy + at, dx + at);
  });
}

}  // namespace

size_t elementwise_workspace(int64_t, int) { return 0; }

void activation_forward(int64_t count, const float* x, Activation activation, const ActivationQuant& quant, NudgedRange* range, float* y,
                        const Context& context) {
  forward(count, x, nullptr, activation, quant, range, y, context);
}

void activation_backward(int64_t count, const float* x, Activation activation, const NudgedRange* range, const float* dy, float* dx,
                         const Context& context) {
  backward(count, x, nullptr, make_pass_interval(activation, range), dy, dx, context);
}

void activation_backward_from_output(int64_t count, const float* y, Activation activation, const float* dy, float* dx,
                                     const Context& context) {
  backward(count, y, nullptr, make_pass_interval(activation, nullptr), dy, dx, context);
}

void add_forward(int64_t count, const float* a, const float* b, Activation activation, const ActivationQuant& quant, NudgedRange* range,
                 float* y, const Context& context) {
  forward(count, a, b, activation, quant, range, y, context);
}

void add_backward(int64_t count, const float* a, const float* b, Activation activation, const NudgedRange* range, const float* dy, float* d,
                  const Context& context) {
  backward(count, a, b, make_pass_interval(activation, range), dy, d, context);
}

void accumulate(int64_t count, const float* term, float* sum, const Context& context) {
  const Chunks chunks = element_chunks(count);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    context.kernels.f32->add(chunks.length(chunk), term + chunks.begin(chunk), sum + chunks.begin(chunk));
  });
}

void dropout(int64_t count, float rate, const DropoutKey& key, const float* x, float* y, const Context& context) {
  const float kept = 1.0f - rate;
  const Chunks chunks = element_chunks(count);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t block = chunks.begin(chunk); block < chunks.end(chunk); block += 4) {
      const PhiloxBlock random = philox4x32(key.seed, key.step, key.instruction, static_cast<uint32_t>(block / 4));
      const int64_t end = std::min(block + 4, chunks.end(chunk));
      for (int64_t i = block; i < end; ++i) {
        const float uniform = static_cast<float>(random.word[i - block] >> 8) * 0x1p-24f;
        y[i] = uniform >= rate ? x[i] / kept : 0.0f;
      }
    }
  });
}

void softmax_forward(int64_t rows, int64_t classes, const float* x, float* y, const Context& context) {
  const Chunks chunks = chunks_of(rows, kChunkElements / 8 / classes + 1);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const float* in = x + row * classes;
      float* out = y + row * classes;
      const float top = *std::max_element(in, in + classes);
      float sum = 0;
      for (int64_t c = 0; c < classes; ++c) sum += out[c] = std::exp(in[c] - top);
      for (int64_t c = 0; c < classes; ++c) out[c] /= sum;
    }
  });
}

void softmax_backward(int64_t rows, int64_t classes, const float* y, const float* dy, float* dx, const Context& context) {
  const Chunks chunks = chunks_of(rows, kChunkElements / classes + 1);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const float* out = y + row * classes;
      const float* d = dy + row * classes;
      float dot = 0;
      for (int64_t c = 0; c < classes; ++c) dot += out[c] * d[c];
      for (int64_t c = 0; c < classes; ++c) dx[row * classes + c] = out[c] * (d[c] - dot);
    }
  });
}

int64_t find_non_finite(int64_t count, const float* x, const Context& context) {
  std::atomic<int64_t> first{count};
  const Chunks chunks = element_chunks(count);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    if (context.kernels.f32->all_finite(chunks.length(chunk), 1, x + chunks.begin(chunk))) return;
    int64_t found = chunks.begin(chunk);
    while (std::isfinite(x[found])) ++found;
    int64_t seen = first.load();
    while (found < seen && !first.compare_exchange_weak(seen, found)) {
    }
  });
  return first.load() == count ? -1 : first.load();
}

bool is_within(float limit, int64_t count, const float* x, const Context& context) {
  const float factor = std::numeric_limits<float>::max() / limit;
  std::atomic<bool> all{true};
  const Chunks chunks = element_chunks(count);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    if (!context.kernels.f32->all_finite(chunks.length(chunk), factor, x + chunks.begin(chunk))) all = false;
  });
  return all;
}

double sum_of_squares(int64_t count, const float* x, const Context& context) {
  double partials[kMaxChunks];
  const Chunks chunks = element_chunks(count);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    partials[chunk] = context.kernels.f32->sum_of_squares(chunks.length(chunk), x + chunks.begin(chunk));
  });
  double sum = 0;
  for (int64_t chunk = 0; chunk < chunks.count; ++chunk) sum += partials[chunk];
  return sum;
}

double kernel_gradient_bound(int64_t kernel_count, int64_t x_count, const float* x, int64_t dy_count, const float* dy,
                             const Context& context) {
  if (kernel_count < x_count + dy_count) return std::numeric_limits<double>::infinity();
  return std::sqrt(sum_of_squares(x_count, x, context) * sum_of_squares(dy_count, dy, context));
}

}  // namespace pcqat
