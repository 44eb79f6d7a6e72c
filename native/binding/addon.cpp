#include <algorithm>
#include <cstdlib>
#include <thread>

#include "binding/binding.h"

namespace pcqat::binding {

Napi::Error make_error(Napi::Env env, const std::string& code, const std::string& message) {
  const AddonData* data = env.GetInstanceData<AddonData>();
  if (data != nullptr && !data->error_class.IsEmpty()) {
    Napi::Object error = data->error_class.New({Napi::String::New(env, code), Napi::String::New(env, message)});
    return Napi::Error(env, error);
  }
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", code);
  return error;
}

const Kernels& default_kernels() {
  static const Kernels* table = [] {
    const char* name = std::getenv("PCQAT_ISA");
    if (name != nullptr && *name == '\0') name = nullptr;
    const Kernels* found = find_kernels(name);
    if (found == nullptr) {
      throw Error("ERR_ISA", std::string("PCQAT_ISA names the instruction set '") + name +
                                 "', which this build or CPU does not have. Unset it, or see `pcqat info` for the ones available.");
    }
    return found;
  }();
  return *table;
}

const Kernels& kernels_argument(Napi::Env env, const Napi::Value& isa) {
  if (isa.IsUndefined()) return default_kernels();
  if (!isa.IsString()) throw make_error(env, "ERR_DTYPE", "isa must be a string.");
  const std::string name = isa.As<Napi::String>();
  const Kernels* found = find_kernels(name.c_str());
  if (found == nullptr)
    throw make_error(env, "ERR_ISA", "The instruction set '" + name + "' is not available in this build or on this CPU.");
  return *found;
}

int default_threads() { return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 256u)); }

namespace {

Napi::Value set_error_class(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsFunction()) throw make_error(env, "ERR_DTYPE", "setErrorClass takes a constructor.");
  env.GetInstanceData<AddonData>()->error_class = Napi::Persistent(info[0].As<Napi::Function>());
  return env.Undefined();
}

Napi::Value build_info(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&] {
    Napi::Object result = Napi::Object::New(env);
    result.Set("version", PCQAT_VERSION);
    result.Set("isa", default_kernels().isa);
    const Kernels* tables[kMostKernels];
    const int count = supported_kernels(tables);
    Napi::Array available = Napi::Array::New(env);
    for (int i = 0; i < count; ++i) available.Set(static_cast<uint32_t>(i), tables[i]->isa);
    result.Set("availableIsas", available);
    result.Set("threads", default_threads());
    result.Set("compiler", __VERSION__);
    return result;
  });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new AddonData());
  exports.Set("setErrorClass", Napi::Function::New(env, set_error_class, "setErrorClass"));
  exports.Set("buildInfo", Napi::Function::New(env, build_info, "buildInfo"));
  export_session(env, exports);
  export_matmul(env, exports);
  export_compression(env, exports);
  export_integer(env, exports);
  export_cuda(env, exports);
  return exports;
}

}  // namespace
}  // namespace pcqat::binding

static Napi::Object pcqat_init(Napi::Env env, Napi::Object exports) { return pcqat::binding::init(env, exports); }
NODE_API_MODULE(pcqat, pcqat_init)
