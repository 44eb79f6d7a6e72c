// CompressionFunctions of binding.d.ts on the CPU.
#include <cmath>

#include "binding/compression_arguments.h"
#include "compression/centroids.h"
#include "compression/mask.h"
#include "simd/kernels.h"

namespace pcqat::binding {

namespace {

ArrayView<float> weight_argument_unchecked(const Napi::Value& value) {
  const auto w = array_argument<float>(value, "w");
  if (w.length == 0) throw Error("ERR_EMPTY_DATA", "w is empty.");
  return w;
}

ArrayView<float> weight_argument(const Napi::Value& value) {
  const auto w = weight_argument_unchecked(value);
  require_finite(w, "w");
  return w;
}

// Rounded to f32 first, as the reference sees it.
float sparsity_argument(const Napi::Value& value) {
  const double sparsity = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(sparsity >= 0 && sparsity < 1)) throw Error("ERR_OPTION", "sparsity must be a number in [0, 1).");
  return static_cast<float>(sparsity);
}

Napi::Value mask_result(Napi::Env env, const Napi::Uint8Array& mask, float threshold) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("mask", mask);
  result.Set("threshold", threshold);
  return result;
}

Napi::Value run_magnitude_mask(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto w = weight_argument_unchecked(info[0]);
    const float sparsity = sparsity_argument(info[1]);
    const bool prune_zeros = !info[2].IsUndefined() && boolean_argument(info[2], "pruneZeros");
    const Kernels& kernels = kernels_argument(info.Env(), info[3]);
    auto mask = Napi::Uint8Array::New(info.Env(), static_cast<size_t>(w.length));
    float threshold = 0;
    const auto zeros = prune_zeros ? ZeroWeights::prune : ZeroWeights::keep;
    if (!magnitude_mask(*kernels.compression, w.data, w.length, sparsity, zeros, mask.Data(), &threshold)) require_finite(w, "w");
    return mask_result(info.Env(), mask, threshold);
  });
}

std::vector<int64_t> sizes_argument(const Napi::Value& value, const std::string& what, uint32_t low, uint32_t high) {
  if (!value.IsArray()) throw Error("ERR_DTYPE", what + " must be an array.");
  const auto array = value.As<Napi::Array>();
  if (array.Length() < low || array.Length() > high) {
    throw Error("ERR_SHAPE", what + " must have " + std::to_string(low) + (low == high ? "" : " to " + std::to_string(high)) + " entries.");
  }
  std::vector<int64_t> sizes;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    sizes.push_back(integer_argument(array.Get(i), what + "[" + std::to_string(i) + "]", 1, int64_t{1} << 31));
  }
  return sizes;
}

Napi::Value run_block_mask(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto w = weight_argument(info[0]);
    const int64_t rows = integer_argument(info[1], "rows", 1, w.length), columns = integer_argument(info[2], "cols", 1, w.length);
    if (w.length % rows != 0 || w.length / rows != columns) {
      throw Error("ERR_SHAPE", "w has " + std::to_string(w.length) + " elements, which is not " + std::to_string(rows) + " x " +
                                   std::to_string(columns) + ".");
    }
    const auto block = sizes_argument(info[3], "block", 2, 2);
    const std::string pooling = string_argument(info[4], "pooling");
    if (pooling != "AVG" && pooling != "MAX") throw Error("ERR_OPTION", "pooling must be 'AVG' or 'MAX', not '" + pooling + "'.");
    const float sparsity = sparsity_argument(info[5]);
    auto mask = Napi::Uint8Array::New(info.Env(), static_cast<size_t>(w.length));
    const float threshold = block_mask(*kernels_argument(info.Env(), info[6]).compression, w.data, rows, columns, block[0], block[1],
                                       pooling == "AVG" ? BlockPooling::average : BlockPooling::maximum, sparsity, mask.Data());
    return mask_result(info.Env(), mask, threshold);
  });
}

Napi::Value run_m_by_n_mask(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto w = weight_argument(info[0]);
    const auto shape = sizes_argument(info[1], "shape", 1, 8);
    if (shape.size() != 2 && shape.size() != 4) {
      throw Error("ERR_SHAPE", "m-by-n pruning takes a weight of rank 2 or 4, not " + std::to_string(shape.size()) + ".");
    }
    int64_t size = 1;
    for (const int64_t axis : shape) size = size > w.length / axis ? w.length + 1 : size * axis;  // without overflow
    if (size != w.length) throw Error("ERR_SHAPE", "shape does not multiply to the " + std::to_string(w.length) + " elements of w.");
    const int64_t n = integer_argument(info[3], "n", 2, int64_t{1} << 31), m = integer_argument(info[2], "m", 1, n - 1);
    const int64_t in = shape[shape.size() - 2], out = shape.back();
    auto mask = Napi::Uint8Array::New(info.Env(), static_cast<size_t>(w.length));
    m_by_n_mask(w.data, w.length / (in * out), in, out, m, n, mask.Data());
    return mask_result(info.Env(), mask, kMByNThreshold);
  });
}

Napi::Value run_init_centroids(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto w = weight_argument(info[0]);
    const std::string name = string_argument(info[1], "method");
    CentroidMethod method;
    if (name == "linear")
      method = CentroidMethod::linear;
    else if (name == "random")
      method = CentroidMethod::random;
    else if (name == "density-based")
      method = CentroidMethod::density;
    else if (name == "kmeans++")
      method = CentroidMethod::kmeans_plus_plus;
    else
      throw Error("ERR_OPTION", "method must be 'linear', 'random', 'density-based' or 'kmeans++', not '" + name + "'.");
    const int64_t k = integer_argument(info[2], "k", 1, 1 << 20);
    const bool preserve_sparsity = boolean_argument(info[3], "preserveSparsity");
    const int64_t seed = info[4].IsUndefined() ? 0 : integer_argument(info[4], "seed", 0, (int64_t{1} << 53) - 1);
    const std::vector<float> centroids =
        initial_centroids(std::vector<float>(w.data, w.data + w.length), method, k, preserve_sparsity, static_cast<uint64_t>(seed));
    for (const float value : centroids) {
      if (!std::isfinite(value))
        throw Error("ERR_OPTION", "The weights span more than f32 can express as a range. Use another initialiser.");
    }
    return copy_to_array(info.Env(), centroids.data(), static_cast<int64_t>(centroids.size()));
  });
}

Napi::Value run_apply_mask(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const MaskArguments a(info);
    apply_mask(kernels_argument(info.Env(), info[2]), a.w.length, a.mask.data, a.w.data);
    return info.Env().Undefined();
  });
}

Napi::Value run_assign_centroids(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const AssignArguments a(info);
    assign_centroids(kernels_argument(info.Env(), info[4]), a.w.length, a.w.data, a.centroids.data, a.k, a.channels, a.indices.data);
    return info.Env().Undefined();
  });
}

Napi::Value run_gather_centroids(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const GatherArguments a(info);
    gather_centroids(kernels_argument(info.Env(), info[4]), a.indices.length, a.indices.data, a.centroids.data, a.k, a.channels,
                     a.out.data);
    return info.Env().Undefined();
  });
}

Napi::Value run_centroid_gradient(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const CentroidGradientArguments a(info);
    kernels_argument(info.Env(), info[6]);  // the sum is the same for every instruction set
    centroid_gradient(a.indices.length, a.indices.data, a.gradient.data, a.k, a.channels, a.average, a.out.data);
    return info.Env().Undefined();
  });
}

Napi::Value run_fake_quantize(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const FakeQuantizeArguments a(info);
    fake_quantize(kernels_argument(info.Env(), info[6]), a.x.length, a.x.data, a.options, a.out.data);
    return info.Env().Undefined();
  });
}

Napi::Value run_fake_quantize_gradient(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const FakeQuantizeGradientArguments a(info);
    fake_quantize_gradient(kernels_argument(info.Env(), info[7]), a.dy.length, a.dy.data, a.x.data, a.options, a.dx.data);
    return info.Env().Undefined();
  });
}

Napi::Value run_symmetric_range(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const SymmetricRangeArguments a(info);
    symmetric_range(kernels_argument(info.Env(), info[4]), a.w.length, a.w.data, a.channels, a.min.data, a.max.data);
    return info.Env().Undefined();
  });
}

}  // namespace

void export_compression(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("magnitudeMask", run_magnitude_mask);
  add("blockMask", run_block_mask);
  add("mByNMask", run_m_by_n_mask);
  add("initCentroids", run_init_centroids);
  add("applyMask", run_apply_mask);
  add("assignCentroids", run_assign_centroids);
  add("gatherCentroids", run_gather_centroids);
  add("centroidGradient", run_centroid_gradient);
  add("fakeQuantize", run_fake_quantize);
  add("fakeQuantizeGradient", run_fake_quantize_gradient);
  add("symmetricRange", run_symmetric_range);
}

}  // namespace pcqat::binding
