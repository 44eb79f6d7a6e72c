#include "ops/depthwise_spans.h"

namespace pcqat {

DepthwiseSpans::DepthwiseSpans(const ConvGeometry& g, bool backward, int workers, Carver& workspace)
    : rows_{g.kernel_h, g.stride_h, g.pad_top, g.dilation_h, backward ? g.out_h : g.in_h, backward ? g.in_h : g.out_h, backward},
      columns_{g.kernel_w, g.stride_w, g.pad_left, g.dilation_w, backward ? g.out_w : g.in_w, backward ? g.in_w : g.out_w, backward},
      channels_(g.out_c),
      // Backward, neighbours in an input row see different kernel columns when the stride is not 1; those a stride apart
      // see the same ones, one output pixel further.
      step_(backward ? g.stride_w : 1), source_step_(backward ? 1 : g.stride_w), row_step_(backward ? std::min(g.stride_h, g.in_h) : 1),
      workers_(workers) {
  const int64_t columns = std::max(g.in_w, g.out_w), sets = workers * std::min(g.stride_h, g.in_h);
  values_per_set_ = 2 * columns * g.kernel_h * g.kernel_w;
  spans_ = workspace.take<ColumnSpan>(columns);
  taps_ = workspace.take<int32_t>(columns * g.kernel_w);
  offsets_ = workspace.take<Offsets>(sets);
  set_spans_ = workspace.take<DepthwiseSpan>(columns * sets);
  set_values_ = workspace.take<int64_t>(values_per_set_ * sets);
}

void DepthwiseSpans::fill() {
  count_ = 0;
  int32_t used = 0;
  for (int64_t start = 0; start < std::min(step_, columns_.target_size); ++start) {
    const int64_t first_of_class = count_;
    for (int64_t position = start; position < columns_.target_size; position += step_) {
      int32_t end = used;
      for (int64_t kw = 0; kw < columns_.kernel; ++kw) {
        if (columns_.source(position, kw) >= 0) taps_[end++] = static_cast<int32_t>(kw);
      }
      ColumnSpan* last = count_ > first_of_class ? &spans_[count_ - 1] : nullptr;
      if (last != nullptr && std::equal(taps_ + last->taps_begin, taps_ + last->taps_end, taps_ + used, taps_ + end)) {
        ++last->pixels;
      } else {
        spans_[count_++] = {static_cast<int32_t>(position), 1, used, end};
        used = end;
      }
    }
  }
  for (int64_t set = 0; set < workers_ * row_step_; ++set) {
    offsets_[set] = {-1, -1, set_spans_ + set * count_, set_values_ + set * values_per_set_};
  }
}

Lines DepthwiseSpans::sources(Lines rows) const {
  Lines lines{rows_.source_size, 0};
  for (int64_t row = rows.first; row < rows.end; ++row) {
    for (int64_t tap = 0; tap < rows_.kernel; ++tap) {
      const int64_t source = rows_.source(row, tap);
      if (source < 0) continue;
      lines.first = std::min(lines.first, source);
      lines.end = std::max(lines.end, source + 1);
    }
  }
  return lines.end == 0 ? Lines{} : lines;
}

const DepthwiseSpans::Offsets& DepthwiseSpans::offsets_of(int64_t row, int64_t first, int64_t last, int worker) const {
  Offsets& offsets = offsets_[worker * row_step_ + row % row_step_];
  if (offsets.first == first && offsets.last == last) return offsets;
  offsets.first = first;
  offsets.last = last;
  int64_t* free = offsets.values;
  for (int64_t s = 0; s < count_; ++s) {
    const ColumnSpan& columns = spans_[s];
    const int64_t most = rows_.kernel * (columns.taps_end - columns.taps_begin);
    int64_t* x_offset = free;
    int64_t* w_offset = free + most;
    free += 2 * most;
    int64_t taps = 0;
    for (int64_t kh = first; kh <= last; ++kh) {
      if (rows_.source(row, kh) < 0) continue;
      const int64_t down = rows_.source(row, kh) - rows_.source(row, first);
      for (int32_t t = columns.taps_begin; t < columns.taps_end; ++t, ++taps) {
        const int64_t kw = taps_[t];
        x_offset[taps] = (down * columns_.source_size + columns_.source(columns.first, kw)) * channels_;
        w_offset[taps] = (kh * columns_.kernel + kw) * channels_;
      }
    }
    offsets.spans[s] = {channels_, columns.pixels, taps, x_offset, w_offset, source_step_ * channels_, step_ * channels_};
  }
  return offsets;
}

}  // namespace pcqat
