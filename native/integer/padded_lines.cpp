#include "integer/padded_lines.h"

#include <algorithm>
#include <cstring>

namespace pcqat::integer {

namespace {

// Lines that fit the first level of cache beside the weights.
constexpr int64_t kLineBytes = 16 * 1024;

// Dilations of small inputs can reach arbitrarily far.
int64_t checked_product(const OperatorView& op, int64_t count, int64_t bytes) {
  if (count > kMaxProgramBytes / bytes) op.unsupported("a window that reaches this far beyond the input");
  return count * bytes;
}

// Copies of at least `bytes` bytes: what is too much is overwritten by the next.
void copy(int8_t* to, const int8_t* from, int64_t bytes) {
  constexpr int64_t kPiece = PaddedLines::kCopied;
  std::memcpy(to, from, kPiece);
  for (int64_t i = kPiece; i < bytes; i += kPiece) std::memcpy(to + i, from + i, kPiece);
}

}  // namespace

PaddedLines::PaddedLines(const OperatorView& op, const Window& window, int32_t zero_point) : w_(window), zero_point_(zero_point) {
  line_bytes = checked_product(op, (w_.out_w - 1) * w_.stride_w + (w_.kernel_w - 1) * w_.dilation_w + 1, w_.in_c);
  rows = std::clamp<int64_t>(kLineBytes / line_bytes / w_.stride_h, 1, w_.out_h);
  checked_product(op, line_count(rows), line_bytes);
  const int64_t joined = w_.dilation_w == 1 ? w_.kernel_w : 1;
  segment_taps = joined * w_.in_c;
  for (int64_t ky = 0; ky < w_.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < w_.kernel_w; kx += joined) offsets.push_back(ky * w_.dilation_h * line_bytes + kx * w_.dilation_w * w_.in_c);
  }
}

void PaddedLines::make(const int8_t* input, int64_t first, int64_t last, int8_t* lines) const {
  const int64_t start = w_.row(first, 0), width = line_bytes / w_.in_c;
  const int64_t taken = std::min(w_.in_w, width - w_.pad_left);
  for (int64_t r = start; r < start + line_count(last - first); ++r, lines += line_bytes) {
    const bool inside = r >= 0 && r < w_.in_h && taken > 0;
    const int64_t before = inside ? w_.pad_left * w_.in_c : line_bytes, middle = inside ? taken * w_.in_c : 0;
    std::memset(lines, zero_point_, before);
    if (middle > 0) std::memcpy(lines + before, input + r * w_.in_w * w_.in_c, middle);
    std::memset(lines + before + middle, zero_point_, line_bytes - before - middle);
  }
}

void PaddedLines::gather(const int8_t* lines, int64_t position, int64_t count, int8_t* patches, int64_t stride) const {
  int64_t y = position / w_.out_w, x = position % w_.out_w;
  for (int64_t i = 0; i < count; ++i, patches += stride) {
    const int8_t* window = lines + corner(y, x);
    int8_t* patch = patches;
    for (const int64_t offset : offsets) {
      copy(patch, window + offset, segment_taps);
      patch += segment_taps;
    }
    if (++x == w_.out_w) x = 0, ++y;
  }
}

}  // namespace pcqat::integer
