#include "optim/optimizer.h"

namespace pcqat {

void TensorUpdate::piece(int64_t at, int64_t count, const float* gradient, const F32Kernels& kernels) const {
  const uint8_t* mask = mask_ == nullptr ? nullptr : mask_ + at;
  float* const weight = arrays_[2] + at;
  if (is_sgd_)
    kernels.sgd(count, sgd_, mask, gradient, arrays_[0] + at, weight);
  else
    kernels.adam(count, adam_, mask, gradient, arrays_[0] + at, arrays_[1] + at, weight);
}

}  // namespace pcqat
