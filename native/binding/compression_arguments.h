// The checked arguments of the functions that run on the CPU and on the GPU (CompressionFunctions of binding.d.ts).
#pragma once

#include <string>

#include "binding/arguments.h"
#include "compression/functions.h"

namespace pcqat::binding {

// ERR_OPTION unless an integer in [low, high].
int64_t integer_argument(const Napi::Value& value, const std::string& what, int64_t low, int64_t high);
bool boolean_argument(const Napi::Value& value, const std::string& what);
std::string string_argument(const Napi::Value& value, const std::string& what);
// ERR_NON_FINITE with the index of the first element that is NaN or infinite.
void require_finite(const ArrayView<float>& values, const std::string& what);

struct MaskArguments {
  explicit MaskArguments(const Napi::CallbackInfo& info);
  ArrayView<float> w;
  ArrayView<uint8_t> mask;
};

struct AssignArguments {
  explicit AssignArguments(const Napi::CallbackInfo& info);
  ArrayView<float> w, centroids;
  int64_t channels, k;
  ArrayView<int32_t> indices;
};

struct GatherArguments {
  explicit GatherArguments(const Napi::CallbackInfo& info);
  ArrayView<int32_t> indices;
  ArrayView<float> centroids;
  int64_t channels, k;
  ArrayView<float> out;
};

struct CentroidGradientArguments {
  explicit CentroidGradientArguments(const Napi::CallbackInfo& info);
  ArrayView<int32_t> indices;
  ArrayView<float> gradient;
  int64_t channels, k;
  bool average;
  ArrayView<float> out;
};

struct FakeQuantizeArguments {
  explicit FakeQuantizeArguments(const Napi::CallbackInfo& info);
  ArrayView<float> x;
  FakeQuantOptions options;
  ArrayView<float> out;
};

struct FakeQuantizeGradientArguments {
  explicit FakeQuantizeGradientArguments(const Napi::CallbackInfo& info);
  ArrayView<float> dy, x;
  FakeQuantOptions options;
  ArrayView<float> dx;
};

struct SymmetricRangeArguments {
  explicit SymmetricRangeArguments(const Napi::CallbackInfo& info);
  ArrayView<float> w;
  int64_t channels;
  ArrayView<float> min, max;
};

}  // namespace pcqat::binding
