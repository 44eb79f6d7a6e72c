// Nudged ranges of many channels as arrays, the form the kernels read.
#pragma once

#include <cstdint>

#include "carver.h"
#include "simd/compression_kernels.h"

namespace pcqat {

struct ChannelRangeArrays {
  float *min, *max, *scale, *inverse_scale, *zero_code;
  int32_t* kind;

  ChannelRanges view() const { return {min, max, scale, inverse_scale, zero_code, kind}; }
};

ChannelRangeArrays carve_channel_ranges(Carver& carver, int64_t channels);

void nudge_channels(const float* min, const float* max, int64_t channels, int bits, bool narrow_range, const ChannelRangeArrays& out);

}  // namespace pcqat
