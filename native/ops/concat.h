// Channels of one value as a part of the channels of another.
#pragma once

#include "ops/common.h"

namespace pcqat {

// Channels [first, first + channels) of `to`, which has `to_channels`, become those of `from`.
void put_channels(int64_t pixels, int64_t channels, const float* from, int64_t first, int64_t to_channels, float* to,
                  const Context& context);
// The gradient: `to` becomes channels [first, first + channels) of `from`.
void take_channels(int64_t pixels, int64_t channels, const float* from, int64_t first, int64_t from_channels, float* to,
                   const Context& context);

}  // namespace pcqat
