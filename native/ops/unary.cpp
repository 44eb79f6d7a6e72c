#include "ops/unary.h"

#include <algorithm>

#include "ops/chunks.h"
#include "ops/finish.h"
#include "parallel/thread_pool.h"
#include "simd/kernels.h"

namespace pcqat {

namespace {

Chunks element_chunks(int64_t count) { return chunks_of(count, kChunkElements, 64); }

}  // namespace

void unary_forward(int64_t count, const Unary& f, const float* x, const ActivationQuant& quant, NudgedRange* range, float* y,
                   const Context& context) {
  const F32Kernels& kernels = *context.kernels.f32;
  const Chunks chunks = element_chunks(count);
  const bool follows = needs_extremes(quant);  // then y holds f(x) before the range is known
  float low[kMaxChunks] = {}, high[kMaxChunks] = {};
  if (follows) {
    context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
      const int64_t at = chunks.begin(chunk);
      kernels.unary_extremes(chunks.length(chunk), f, x + at, y + at, &low[chunk], &high[chunk]);
    });
  }
  NudgedRange nudged;
  const bool quantize =
      prepare_range(quant, *std::min_element(low, low + chunks.count), *std::max_element(high, high + chunks.count), &nudged);
  if (quantize && range != nullptr) *range = nudged;
  if (quantize && nudged.is_zero) {  // zero even for NaN
    std::fill(y, y + count, 0.0f);
    return;
  }
  if (follows && !quantize) return;
  const Finish finish = make_finish(Activation::none, quantize ? &nudged : nullptr);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t at = chunks.begin(chunk), length = chunks.length(chunk);
    if (follows)
      kernels.finish(length, y + at, nullptr, finish, y + at);
    else
      kernels.unary(length, f, x + at, finish, y + at);
  });
}

void unary_backward(int64_t count, const Unary& f, const float* x, const NudgedRange* range, const float* dy, float* dx,
                    const Context& context) {
  const PassInterval pass = make_pass_interval(Activation::none, range);
  const Chunks chunks = element_chunks(count);
  context.pool.parallel_for(chunks.count, [&](int64_t chunk) {
    const int64_t at = chunks.begin(chunk);
    context.kernels.f32->unary_gradient(chunks.length(chunk), f, x + at, pass, dy + at, dx + at);
  });
}

}  // namespace pcqat
