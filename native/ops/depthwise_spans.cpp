#include "ops/depthwise_spans.h"

namespace pcqat {

namespace {

LineLayout layout_of(const Axis& rows, const Axis& columns, int64_t channels, int64_t block) {
  return {rows.source_size,
          rows.before() + rows.source_size + rows.after(),
          columns.source_size,
          channels,
          columns.before(),
          columns.after(),
          block};
}

}  // namespace

Lines Axis::sources(Lines lines) const {
  Lines found;
  for (int64_t target = lines.first; target < lines.end; ++target) {
    for (int64_t tap = 0; tap < kernel; ++tap) {
      if (!connects(target, tap)) continue;
      const int64_t at = source(target, tap);
      found = found.first == found.end ? Lines{at, at + 1} : Lines{std::min(found.first, at), std::max(found.end, at + 1)};
    }
  }
  return found;
}

DepthwiseSpans::DepthwiseSpans(const ConvGeometry& g, bool backward, int64_t columns, Carver& workspace)
    : rows_{g.kernel_h, g.stride_h, g.pad_top, g.dilation_h, backward ? g.out_h : g.in_h, backward ? g.in_h : g.out_h, backward},
      columns_{g.kernel_w, g.stride_w, g.pad_left, g.dilation_w, backward ? g.out_w : g.in_w, backward ? g.in_w : g.out_w, backward},
      layout_(layout_of(rows_, columns_, g.out_c, columns)) {
  const int64_t kinds = rows_.step() * columns_.step();
  spans_ = workspace.take<DepthwiseSpan>(kinds);
  offsets_ = workspace.take<int64_t>(2 * kinds * g.kernel_h * g.kernel_w);
}

DepthwiseSpan DepthwiseSpans::make_span(int64_t row, int64_t column, int64_t* offsets) const {
  int64_t* const x_offset = offsets;
  int64_t* const w_offset = offsets + rows_.kernel * columns_.kernel;
  const int64_t line = layout_.floats();
  int64_t taps = 0;
  // In the order of the source.
  const auto tap_at = [](const Axis& axis, int64_t index) { return axis.backward ? axis.kernel - 1 - index : index; };
  for (int64_t line_index = 0; line_index < rows_.kernel; ++line_index) {
    for (int64_t column_index = 0; column_index < columns_.kernel; ++column_index) {
      const int64_t kh = tap_at(rows_, line_index), kw = tap_at(columns_, column_index);
      if (!rows_.connects(row, kh) || !columns_.connects(column, kw)) continue;
      x_offset[taps] = rows_.source(row, kh) * line + (layout_.before + columns_.source(column, kw)) * layout_.block;
      w_offset[taps++] = (kh * columns_.kernel + kw) * layout_.channels;
    }
  }
  return {0,
          (columns_.target_size - column + columns_.step() - 1) / columns_.step(),
          0,
          taps,
          x_offset,
          w_offset,
          columns_.source_step() * layout_.block,
          columns_.step() * layout_.channels,
          rows_.source_step() * line,
          rows_.step() * columns_.target_size * layout_.channels};
}

void DepthwiseSpans::fill() {
  const int64_t kinds = columns_.step();
  for (int64_t row = 0; row < rows_.step(); ++row) {
    for (int64_t column = 0; column < kinds; ++column) {
      const int64_t kind = row * kinds + column;
      spans_[kind] = make_span(row, column, offsets_ + 2 * kind * rows_.kernel * columns_.kernel);
    }
  }
}

}  // namespace pcqat
