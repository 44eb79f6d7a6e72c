// Losses: the mean over the batch and its gradient.
#pragma once

#include "ops/common.h"

namespace pcqat {

struct LossResult {
  double loss = 0;
  int64_t correct = 0;
};

// Exactly one of `labels` (class indices, already checked) and `targets` ([rows, classes]) is not null.
// d_logits may be null (evaluation only).
LossResult softmax_cross_entropy(int64_t rows, int64_t classes, const float* logits, const int32_t* labels, const float* targets,
                                 float label_smoothing, float* d_logits, const Context& context);
LossResult mean_squared_error(int64_t rows, int64_t width, const float* prediction, const float* target, float* d_prediction,
                              const Context& context);

}  // namespace pcqat
