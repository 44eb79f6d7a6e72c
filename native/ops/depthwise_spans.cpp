#include "ops/depthwise_spans.h"

namespace pcqat {

bool Axis::is_alike(int64_t a, int64_t b) const {
  const int64_t first = first_tap(a);
  if (first != first_tap(b)) return false;
  for (int64_t tap = first; tap < kernel; ++tap) {
    const int64_t in_a = source(a, tap), in_b = source(b, tap);
    if (in_a < 0 || in_b < 0 ? in_a != in_b : in_a - source(a, first) != in_b - source(b, first)) return false;
  }
  return true;
}

DepthwiseSpans::DepthwiseSpans(const ConvGeometry& g, bool backward, Carver& workspace)
    : rows_{g.kernel_h, g.stride_h, g.pad_top, g.dilation_h, backward ? g.out_h : g.in_h, backward ? g.in_h : g.out_h, backward},
      columns_{g.kernel_w, g.stride_w, g.pad_left, g.dilation_w, backward ? g.out_w : g.in_w, backward ? g.in_w : g.out_w, backward},
      channels_(g.out_c) {
  const int64_t columns = columns_.target_size, kinds = most_kinds();
  groups_ = workspace.take<Group>(columns);
  kinds_ = workspace.take<Kind>(rows_.target_size);
  spans_ = workspace.take<DepthwiseSpan>(columns * kinds);
  offsets_ = workspace.take<int64_t>(2 * columns * g.kernel_h * g.kernel_w * kinds);
}

// Rows differ by their place in a step, and by the first and last tap.
int64_t DepthwiseSpans::most_kinds() const {
  return std::min(rows_.target_size, rows_.step() * (rows_.kernel * (rows_.kernel + 1) / 2 + 1));
}

void DepthwiseSpans::find_groups() {
  count_ = 0;
  for (int64_t start = 0; start < std::min(columns_.step(), columns_.target_size); ++start) {
    for (int64_t position = start; position < columns_.target_size; position += columns_.step()) {
      if (position > start && columns_.is_alike(groups_[count_ - 1].first, position))
        ++groups_[count_ - 1].pixels;
      else
        groups_[count_++] = {position, 1};
    }
  }
}

DepthwiseSpan DepthwiseSpans::make_span(int64_t row, const Group& columns, int64_t* offsets) const {
  int64_t* const x_offset = offsets;
  int64_t* const w_offset = offsets + rows_.kernel * columns_.kernel;
  const int64_t first = rows_.first_tap(row);
  int64_t taps = 0;
  for (int64_t kh = first; kh < rows_.kernel; ++kh) {
    for (int64_t kw = 0; kw < columns_.kernel; ++kw) {
      const int64_t line = rows_.source(row, kh), column = columns_.source(columns.first, kw);
      if (line < 0 || column < 0) continue;
      x_offset[taps] = ((line - rows_.source(row, first)) * columns_.source_size + column) * channels_;
      w_offset[taps++] = (kh * columns_.kernel + kw) * channels_;
    }
  }
  return {channels_,
          columns.pixels,
          0,
          taps,
          x_offset,
          w_offset,
          columns_.source_step() * channels_,
          columns_.step() * channels_,
          rows_.source_step() * columns_.source_size * channels_,
          rows_.step() * columns_.target_size * channels_};
}

void DepthwiseSpans::fill() {
  find_groups();
  DepthwiseSpan* spans = spans_;
  int64_t* offsets = offsets_;
  for (int64_t row = 0; row < rows_.target_size; ++row) {
    const int64_t first = rows_.first_tap(row), source = first == rows_.kernel ? 0 : rows_.source(row, first);
    const DepthwiseSpan* alike = nullptr;
    for (int64_t other = 0; other < row && alike == nullptr; ++other) {
      if (rows_.is_alike(other, row)) alike = kinds_[other].spans;
    }
    if (alike == nullptr) {
      alike = spans;
      for (int64_t s = 0; s < count_; ++s, offsets += 2 * rows_.kernel * columns_.kernel) *spans++ = make_span(row, groups_[s], offsets);
    }
    kinds_[row] = {alike, source * columns_.source_size * channels_};
  }
}

Lines DepthwiseSpans::sources(Lines lines) const {
  Lines found{rows_.source_size, 0};
  for (int64_t row = lines.first; row < lines.end; ++row) {
    for (int64_t tap = 0; tap < rows_.kernel; ++tap) {
      const int64_t source = rows_.source(row, tap);
      if (source < 0) continue;
      found.first = std::min(found.first, source);
      found.end = std::max(found.end, source + 1);
    }
  }
  return found.end == 0 ? Lines{} : found;
}

}  // namespace pcqat
