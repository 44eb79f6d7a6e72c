// Rows of a convolution's input with the zero point around them, so that no tap of a window needs a check.
#pragma once

#include "integer/window.h"

namespace pcqat::integer {

class PaddedLines {
 public:
  // Bytes that patches are copied in; at most what kernels may read beyond the end of an activation.
  static constexpr int64_t kCopied = 16;
  static_assert(kCopied <= kInt8Overread, "copies of patches run over the end of activations");

  PaddedLines() = default;
  // Refuses windows that reach so far that their lines need more memory than a model may take.
  PaddedLines(const OperatorView& op, const Window& window, int32_t zero_point);

  // Memory for the lines of `rows` rows of outputs, with what may be read beyond them.
  int64_t bytes() const { return line_count(rows) * line_bytes + kInt8Overread; }
  // Makes the lines that outputs [first, last) see, at most `rows` of them.
  void make(const int8_t* input, int64_t first, int64_t last, int8_t* lines) const;
  // The start of the window of a position, counted from the first output of the lines.
  int64_t corner(int64_t y, int64_t x) const { return y * w_.stride_h * line_bytes + x * w_.stride_w * w_.in_c; }
  // Copies the windows of `count` positions from `position` on, counted likewise, `stride` bytes apart.
  void gather(const int8_t* lines, int64_t position, int64_t count, int8_t* patches, int64_t stride) const;

  int64_t line_bytes = 0;
  int64_t rows = 0;  // of outputs whose lines are held at once
  // Taps that lie side by side, and where each such segment begins from the corner of the window on.
  int64_t segment_taps = 0;
  std::vector<int64_t> offsets;

 private:
  int64_t line_count(int64_t rows) const { return rows < 1 ? 0 : (rows - 1) * w_.stride_h + (w_.kernel_h - 1) * w_.dilation_h + 1; }

  Window w_{};
  int32_t zero_point_ = 0;
};

}  // namespace pcqat::integer
