// loadCuda and the cuda.* functions of binding.d.ts. The module is opened only when asked for.
#include <dlfcn.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "binding/compression_arguments.h"
#include "compression/channel_ranges.h"
#include "compression/codebook.h"
#include "compression/segment_sum.h"
#include "cuda/cuda_api.h"

namespace pcqat::binding {

namespace {

// The module stays loaded for the life of the process and serves every Node environment in it.
struct Module {
  std::mutex mutex;
  const CudaApi* api = nullptr;  // null until a device was found
  CudaDevice device{};
};
Module& module() {
  static Module instance;
  return instance;
}

// Null when the module is usable, else the reason in one sentence.
std::string load(const std::string& path) {
  Module& m = module();
  const std::lock_guard<std::mutex> lock(m.mutex);
  if (m.api != nullptr) return "";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* error = dlerror();
    return "The CUDA module could not be loaded: " + std::string(error == nullptr ? path : error) + ".";
  }
  using Entry = const CudaApi* (*)();
  const Entry entry = reinterpret_cast<Entry>(dlsym(library, kCudaApiSymbol));
  const CudaApi* api = entry == nullptr ? nullptr : entry();
  std::string reason;
  if (api == nullptr)
    reason = path + " is no CUDA module of pcqat.";
  else if (std::string(api->version) != PCQAT_VERSION)
    reason = "The CUDA module is of version " + std::string(api->version) + ", the addon of " PCQAT_VERSION ".";
  else if (const char* error = api->find_device(&m.device))
    reason = error;
  if (reason.empty())
    m.api = api;
  else
    dlclose(library);
  return reason;
}

const CudaApi& require_module() {
  Module& m = module();
  const std::lock_guard<std::mutex> lock(m.mutex);
  if (m.api == nullptr) throw Error("ERR_CUDA_UNAVAILABLE", "No CUDA device is in use. Call loadCuda first and check `available`.");
  return *m.api;
}

void require_success(const char* error) {
  if (error != nullptr) throw Error("ERR_CUDA_UNAVAILABLE", error);
}

Napi::Value load_cuda(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&] {
    const std::string reason = load(string_argument(info[0], "path"));
    Napi::Object result = Napi::Object::New(env);
    result.Set("available", reason.empty());
    if (!reason.empty()) {
      result.Set("reason", reason);
      return result;
    }
    const CudaDevice& device = module().device;
    result.Set("device", device.name);
    result.Set("computeCapability", std::to_string(device.major) + "." + std::to_string(device.minor));
    result.Set("driverVersion", std::to_string(device.driver_version / 1000) + "." + std::to_string(device.driver_version % 1000 / 10));
    result.Set("memoryBytes", static_cast<double>(device.memory_bytes));
    return result;
  });
}

Napi::Value run_apply_mask(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const CudaApi& api = require_module();
    const MaskArguments a(info);
    require_success(api.apply_mask(a.w.length, a.mask.data, a.w.data));
    return info.Env().Undefined();
  });
}

Napi::Value run_assign_centroids(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const CudaApi& api = require_module();
    const AssignArguments a(info);
    std::vector<char> memory(codebook_bytes(a.k, a.channels));
    const Codebook book = prepare_codebook(a.centroids.data, a.k, a.channels, memory.data());
    require_success(api.assign(a.w.length, a.w.data, book, a.indices.data));
    return info.Env().Undefined();
  });
}

Napi::Value run_gather_centroids(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const CudaApi& api = require_module();
    const GatherArguments a(info);
    require_success(api.gather(a.indices.length, a.indices.data, a.centroids.data, a.k, a.channels, a.out.data));
    return info.Env().Undefined();
  });
}

Napi::Value run_centroid_gradient(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const CudaApi& api = require_module();
    const CentroidGradientArguments a(info);
    const int64_t columns = std::max<int64_t>(a.channels, 1), size = a.indices.length;
    std::vector<int32_t> counts(a.average ? static_cast<size_t>(a.k * columns) : 0);
    if (a.average) segment_count(size / columns, columns, a.indices.data, a.k, a.channels, counts.data());
    require_success(api.segment_sum(size, a.indices.data, a.gradient.data, a.k, a.channels,
                                    segment_rows_per_block(columns, a.k, a.channels), a.average ? counts.data() : nullptr, a.out.data));
    return info.Env().Undefined();
  });
}

// The nudged ranges are computed on the host, as everywhere.
class Ranges {
 public:
  explicit Ranges(const FakeQuantOptions& o) {
    if (o.channels == 0) {
      range = nudge_range(o.min[0], o.max[0], o.bits, o.narrow_range);
      return;
    }
    Carver measure(nullptr);
    carve_channel_ranges(measure, o.channels);
    memory_.resize(measure.used());
    Carver carver(memory_.data());
    const ChannelRangeArrays arrays = carve_channel_ranges(carver, o.channels);
    nudge_channels(o.min, o.max, o.channels, o.bits, o.narrow_range, arrays);
    channels = arrays.view();
  }
  NudgedRange range;
  ChannelRanges channels{};

 private:
  std::vector<char> memory_;
};

Napi::Value run_fake_quantize(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const CudaApi& api = require_module();
    const FakeQuantizeArguments a(info);
    const Ranges ranges(a.options);
    require_success(api.fake_quantize(a.x.length, a.options.channels, a.x.data, ranges.range, ranges.channels, a.out.data));
    return info.Env().Undefined();
  });
}

Napi::Value run_fake_quantize_gradient(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const CudaApi& api = require_module();
    const FakeQuantizeGradientArguments a(info);
    const Ranges ranges(a.options);
    require_success(
        api.fake_quantize_gradient(a.x.length, a.options.channels, a.dy.data, a.x.data, ranges.range, ranges.channels, a.dx.data));
    return info.Env().Undefined();
  });
}

Napi::Value run_symmetric_range(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const CudaApi& api = require_module();
    const SymmetricRangeArguments a(info);
    require_success(api.max_abs(a.w.length, a.w.data, a.channels, a.max.data));
    for (int64_t i = 0; i < a.max.length; ++i) a.min.data[i] = 0.0f - a.max.data[i];
    return info.Env().Undefined();
  });
}

}  // namespace

void export_cuda(Napi::Env env, Napi::Object exports) {
  exports.Set("loadCuda", Napi::Function::New(env, load_cuda, "loadCuda"));
  Napi::Object functions = Napi::Object::New(env);
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    functions.Set(name, Napi::Function::New(env, function, name));
  };
  add("applyMask", run_apply_mask);
  add("assignCentroids", run_assign_centroids);
  add("gatherCentroids", run_gather_centroids);
  add("centroidGradient", run_centroid_gradient);
  add("fakeQuantize", run_fake_quantize);
  add("fakeQuantizeGradient", run_fake_quantize_gradient);
  add("symmetricRange", run_symmetric_range);
  exports.Set("cuda", functions);
}

}  // namespace pcqat::binding
