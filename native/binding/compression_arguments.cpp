#include "binding/compression_arguments.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace pcqat::binding {

namespace {

constexpr int64_t kMaxCentroids = 1 << 20;
constexpr int64_t kMaxChannels = 1 << 20;

// Channels of a tensor of `size` elements; 0 = one codebook or range.
int64_t channels_argument(const Napi::Value& value, int64_t size) {
  const int64_t channels = integer_argument(value, "channels", 0, kMaxChannels);
  if (channels > 0 && size % channels != 0) {
    throw Error("ERR_SHAPE", "A weight of " + std::to_string(size) + " elements cannot have " + std::to_string(channels) + " channels.");
  }
  return channels;
}

int64_t checked_k(int64_t k, int64_t channels) {
  // Kernels address the codebook with 32-bit integers.
  if (k < 1 || k > kMaxCentroids || k * std::max<int64_t>(channels, 1) > std::numeric_limits<int32_t>::max()) {
    throw Error("ERR_OPTION",
                "A codebook must have 1 to " + std::to_string(kMaxCentroids) + " centroids per row, not " + std::to_string(k) + ".");
  }
  return k;
}

int64_t codebook_k(const ArrayView<float>& centroids, int64_t channels) {
  const int64_t rows = std::max<int64_t>(channels, 1);
  if (centroids.length % rows != 0) {
    throw Error("ERR_SHAPE", "centroids has " + std::to_string(centroids.length) + " elements, which is no multiple of the " +
                                 std::to_string(channels) + " channels.");
  }
  return checked_k(centroids.length / rows, channels);
}

void require_indices(const ArrayView<int32_t>& indices, int64_t k) {
  for (int64_t i = 0; i < indices.length; ++i) {
    if (indices.data[i] < 0 || indices.data[i] >= k) {
      throw Error("ERR_OPTION", "indices[" + std::to_string(i) + "] is " + std::to_string(indices.data[i]) + ", but the codebook has " +
                                    std::to_string(k) + " centroids.");
    }
  }
}

FakeQuantOptions fake_quant_options(const Napi::CallbackInfo& info, size_t first, int64_t size, bool per_channel = false) {
  const auto min = array_argument<float>(info[first], "min");
  const auto max = array_argument<float>(info[first + 1], "max", min.length);
  if (min.length < 1 || size % min.length != 0) {
    throw Error("ERR_SHAPE", "min has " + std::to_string(min.length) +
                                 " elements; it needs 1, or the size of the last axis, which divides the " + std::to_string(size) +
                                 " elements of x.");
  }
  const int bits = static_cast<int>(integer_argument(info[first + 2], "bits", 2, 16));
  const bool narrow = boolean_argument(info[first + 3], "narrowRange");
  return {min.data, max.data, min.length == 1 && !per_channel ? 0 : min.length, bits, narrow};
}

}  // namespace

int64_t integer_argument(const Napi::Value& value, const std::string& what, int64_t low, int64_t high) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::numeric_limits<double>::quiet_NaN();
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high) && number == std::floor(number))) {
    throw Error("ERR_OPTION", what + " must be an integer between " + std::to_string(low) + " and " + std::to_string(high) + ".");
  }
  return static_cast<int64_t>(number);
}

bool boolean_argument(const Napi::Value& value, const std::string& what) {
  if (!value.IsBoolean()) throw Error("ERR_DTYPE", what + " must be a boolean.");
  return value.As<Napi::Boolean>();
}

std::string string_argument(const Napi::Value& value, const std::string& what) {
  if (!value.IsString()) throw Error("ERR_DTYPE", what + " must be a string.");
  return value.As<Napi::String>();
}

void require_finite(const ArrayView<float>& values, const std::string& what) {
  for (int64_t i = 0; i < values.length; ++i) {
    if (std::isfinite(values.data[i])) continue;
    throw Error("ERR_NON_FINITE", what + "[" + std::to_string(i) + "] is " + (std::isnan(values.data[i]) ? "NaN" : "infinite") + ".");
  }
}

MaskArguments::MaskArguments(const Napi::CallbackInfo& info)
    : w(array_argument<float>(info[0], "w")), mask(array_argument<uint8_t>(info[1], "mask", w.length)) {}

AssignArguments::AssignArguments(const Napi::CallbackInfo& info)
    : w(array_argument<float>(info[0], "w")), centroids(array_argument<float>(info[1], "centroids")),
      channels(channels_argument(info[2], w.length)), k(codebook_k(centroids, channels)),
      indices(array_argument<int32_t>(info[3], "indices", w.length)) {
  require_finite(w, "w");
  require_finite(centroids, "centroids");
}

GatherArguments::GatherArguments(const Napi::CallbackInfo& info)
    : indices(array_argument<int32_t>(info[0], "indices")), centroids(array_argument<float>(info[1], "centroids")),
      channels(channels_argument(info[2], indices.length)), k(codebook_k(centroids, channels)),
      out(array_argument<float>(info[3], "out", indices.length)) {
  require_indices(indices, k);
  // Writing over indices that are still to be read would undo the check.
  const char* const in = reinterpret_cast<const char*>(indices.data);
  const char* const to = reinterpret_cast<const char*>(out.data);
  const int64_t bytes = indices.length * static_cast<int64_t>(sizeof(float));
  if (std::less<>()(in, to + bytes) && std::less<>()(to, in + bytes)) {
    throw Error("ERR_OPTION", "out must not share memory with indices.");
  }
}

CentroidGradientArguments::CentroidGradientArguments(const Napi::CallbackInfo& info)
    : indices(array_argument<int32_t>(info[0], "indices")), gradient(array_argument<float>(info[1], "gradient", indices.length)),
      channels(channels_argument(info[2], indices.length)), k(checked_k(integer_argument(info[3], "k", 1, kMaxCentroids), channels)) {
  const std::string aggregation = string_argument(info[4], "aggregation");
  if (aggregation != "sum" && aggregation != "average") {
    throw Error("ERR_OPTION", "aggregation must be 'sum' or 'average', not '" + aggregation + "'.");
  }
  average = aggregation == "average";
  out = array_argument<float>(info[5], "out", k * std::max<int64_t>(channels, 1));
  require_indices(indices, k);
}

FakeQuantizeArguments::FakeQuantizeArguments(const Napi::CallbackInfo& info)
    : x(array_argument<float>(info[0], "x")),
      options(fake_quant_options(info, 1, x.length, !info[7].IsUndefined() && boolean_argument(info[7], "perChannel"))),
      out(array_argument<float>(info[5], "out", x.length)) {}

FakeQuantizeGradientArguments::FakeQuantizeGradientArguments(const Napi::CallbackInfo& info)
    : dy(array_argument<float>(info[0], "dy")), x(array_argument<float>(info[1], "x", dy.length)),
      options(fake_quant_options(info, 2, x.length)), dx(array_argument<float>(info[6], "dx", x.length)) {}

SymmetricRangeArguments::SymmetricRangeArguments(const Napi::CallbackInfo& info)
    : w(array_argument<float>(info[0], "w")), channels(channels_argument(info[1], w.length)),
      min(array_argument<float>(info[2], "min", std::max<int64_t>(channels, 1))),
      max(array_argument<float>(info[3], "max", std::max<int64_t>(channels, 1))) {
  if (w.length == 0) throw Error("ERR_EMPTY_DATA", "w is empty.");
  require_finite(w, "w");
}

}  // namespace pcqat::binding
