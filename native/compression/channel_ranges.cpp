#include "compression/channel_ranges.h"

#include "compression/fake_quant.h"

namespace pcqat {

ChannelRangeArrays carve_channel_ranges(Carver& carver, int64_t channels) {
  ChannelRangeArrays a;
  a.min = carver.take<float>(channels);
  a.max = carver.take<float>(channels);
  a.scale = carver.take<float>(channels);
  a.inverse_scale = carver.take<float>(channels);
  a.zero_code = carver.take<float>(channels);
  a.kind = carver.take<int32_t>(channels);
  return a;
}

void nudge_channels(const float* min, const float* max, int64_t channels, int bits, bool narrow_range, const ChannelRangeArrays& out) {
  for (int64_t c = 0; c < channels; ++c) {
    const NudgedRange range = nudge_range(min[c], max[c], bits, narrow_range);
    out.min[c] = range.min;
    out.max[c] = range.max;
    out.scale[c] = range.scale;
    out.inverse_scale[c] = range.inverse_scale;
    out.zero_code[c] = range.zero_code;
    out.kind[c] = range.is_nan ? ChannelRanges::nan : range.is_zero ? ChannelRanges::zero : ChannelRanges::normal;
  }
}

}  // namespace pcqat
