// Checks of typed-array arguments.
#pragma once

#include <cstring>
#include <string>

#include "binding/binding.h"

namespace pcqat::binding {

inline napi_typedarray_type array_type(const float*) { return napi_float32_array; }
inline napi_typedarray_type array_type(const double*) { return napi_float64_array; }
inline napi_typedarray_type array_type(const int32_t*) { return napi_int32_array; }
inline napi_typedarray_type array_type(const uint8_t*) { return napi_uint8_array; }
inline const char* array_name(const float*) { return "a Float32Array"; }
inline const char* array_name(const double*) { return "a Float64Array"; }
inline const char* array_name(const int32_t*) { return "an Int32Array"; }
inline const char* array_name(const uint8_t*) { return "a Uint8Array"; }

template <typename T>
struct ArrayView {
  T* data;
  int64_t length;
};

// The elements of a typed array of exactly this type; `what` names the argument. Throws ERR_DTYPE.
template <typename T>
ArrayView<T> array_argument(const Napi::Value& value, const std::string& what) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != array_type(static_cast<T*>(nullptr))) {
    throw Error("ERR_DTYPE", what + " must be " + array_name(static_cast<T*>(nullptr)) + ".");
  }
  auto array = value.As<Napi::TypedArrayOf<T>>();
  return {array.Data(), static_cast<int64_t>(array.ElementLength())};
}

// The same with a required length. Throws ERR_SHAPE.
template <typename T>
ArrayView<T> array_argument(const Napi::Value& value, const std::string& what, int64_t length) {
  const ArrayView<T> view = array_argument<T>(value, what);
  if (view.length != length) {
    throw Error("ERR_SHAPE", what + " must have " + std::to_string(length) + " elements, but has " + std::to_string(view.length) + ".");
  }
  return view;
}

template <typename T>
Napi::Value copy_to_array(Napi::Env env, const T* data, int64_t length) {
  auto array = Napi::TypedArrayOf<T>::New(env, static_cast<size_t>(length));
  if (length > 0) std::memcpy(array.Data(), data, static_cast<size_t>(length) * sizeof(T));
  return array;
}

}  // namespace pcqat::binding
