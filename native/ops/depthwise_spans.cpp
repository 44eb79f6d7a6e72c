#include "ops/depthwise_spans.h"

namespace pcqat {

DepthwiseColumns::DepthwiseColumns(const ConvGeometry& g, bool backward, int workers, Workspace& workspace)
    : rows_axis_{g.kernel_h, g.stride_h, g.pad_top, g.dilation_h, backward ? g.out_h : g.in_h, backward ? g.in_h : g.out_h, backward},
      columns_axis_{g.kernel_w, g.stride_w, g.pad_left, g.dilation_w, backward ? g.out_w : g.in_w, backward ? g.in_w : g.out_w, backward},
      channels_(g.out_c),
      taps_limit_(g.kernel_h * g.kernel_w),
      // Backward, neighbours in an input row see different kernel columns when the stride is not 1; those a stride apart
      // see the same ones, one output pixel further.
      step_(backward ? g.stride_w : 1),
      source_step_(backward ? 1 : g.stride_w) {
  const int64_t columns = std::max(g.in_w, g.out_w);
  spans_ = workspace.take<ColumnSpan>(columns);
  taps_ = workspace.take<int32_t>(columns * g.kernel_w);
  offsets_ = workspace.take<int64_t>(2 * taps_limit_ * workers);
}

void DepthwiseColumns::fill() {
  count_ = 0;
  int32_t used = 0;
  for (int64_t start = 0; start < step_; ++start) {
    const int64_t first_of_class = count_;
    for (int64_t position = start; position < columns_axis_.target_size; position += step_) {
      int32_t end = used;
      for (int64_t kw = 0; kw < columns_axis_.kernel; ++kw) {
        if (columns_axis_.source(position, kw) >= 0) taps_[end++] = static_cast<int32_t>(kw);
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
}

}  // namespace pcqat
