// What the files of this folder share. Only this folder includes napi.h.
#pragma once

#include <napi.h>

#include <string>
#include <utility>

#include "error.h"
#include "simd/kernels.h"

namespace pcqat::binding {

// State of one Node environment (main thread or worker).
struct AddonData {
  Napi::FunctionReference error_class;  // PcqatError, set by setErrorClass
};

// The JavaScript error for a code and message: PcqatError if known, else an Error with a `code` property.
Napi::Error make_error(Napi::Env env, const std::string& code, const std::string& message);

// Runs body; turns pcqat::Error and std::bad_alloc into a thrown PcqatError.
template <typename Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return std::forward<Body>(body)();
  } catch (const Error& error) {
    throw make_error(env, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    throw make_error(env, "ERR_OUT_OF_MEMORY", "Not enough memory.");
  }
}

// Kernel table for an optional isa argument (undefined: the default, which honours PCQAT_ISA). Throws ERR_ISA.
const Kernels& kernels_argument(Napi::Env env, const Napi::Value& isa);
const Kernels& default_kernels();

// Cores this process may use.
int default_threads();

// Each file of this folder adds its part of the contract.
void export_session(Napi::Env env, Napi::Object exports);
void export_matmul(Napi::Env env, Napi::Object exports);
void export_compression(Napi::Env env, Napi::Object exports);
void export_integer(Napi::Env env, Napi::Object exports);
void export_cuda(Napi::Env env, Napi::Object exports);

}  // namespace pcqat::binding
