#include "binding/fields.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace pcqat::binding {
namespace {

constexpr double kMaxSafeInteger = 9007199254740991.0;

const char* type_text(const Napi::Value& value) {
  if (value.IsArray()) return "an array";
  switch (value.Type()) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean: return "a boolean";
    case napi_number: return "a number";
    case napi_string: return "a string";
    case napi_function: return "a function";
    case napi_object: return "an object";
    default: return "of another type";
  }
}

bool is_integer(double value) { return std::abs(value) <= kMaxSafeInteger && value == std::floor(value); }

}  // namespace

Fields::Fields(const Napi::Value& value, std::string path) : path_(std::move(path)) {
  if (!value.IsObject() || value.IsArray() || value.IsFunction()) {
    throw Error("ERR_DTYPE", (path_.empty() ? "The argument" : path_) + " must be an object, but is " + type_text(value) + ".");
  }
  object_ = value.As<Napi::Object>();
}

void Fields::fail(const char* name, const char* code, const std::string& what) const { throw Error(code, path(name) + " " + what + "."); }

bool Fields::has(const char* name) {
  known_.push_back(name);
  return !object_.Get(name).IsUndefined();
}

Napi::Value Fields::get(const char* name) {
  known_.push_back(name);
  const Napi::Value value = object_.Get(name);
  if (value.IsUndefined()) fail(name, "ERR_OPTION", "is missing");
  return value;
}

double Fields::number(const char* name) {
  const Napi::Value value = get(name);
  if (!value.IsNumber()) fail(name, "ERR_DTYPE", std::string("must be a number, but is ") + type_text(value));
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!std::isfinite(number)) fail(name, "ERR_OPTION", "must be finite");
  return number;
}

int64_t Fields::integer(const char* name) {
  const double value = number(name);
  if (!is_integer(value)) fail(name, "ERR_OPTION", "must be an integer");
  return static_cast<int64_t>(value);
}

int64_t Fields::integer(const char* name, int64_t low, int64_t high) {
  const int64_t value = integer(name);
  if (value < low || value > high) {
    fail(name, "ERR_OPTION",
         "is " + std::to_string(value) + ", but must be between " + std::to_string(low) + " and " + std::to_string(high));
  }
  return value;
}

int Fields::id(const char* name) {
  const int64_t value = integer(name);
  if (value < 0 || value > INT32_MAX) fail(name, "ERR_GRAPH", "is " + std::to_string(value) + ", which is no index");
  return static_cast<int>(value);
}

std::vector<int> Fields::ids(const char* name, size_t max_length) {
  std::vector<int> out;
  for (int64_t value : integers(name, max_length)) {
    if (value < 0 || value > INT32_MAX) fail(name, "ERR_GRAPH", "has " + std::to_string(value) + ", which is no index");
    out.push_back(static_cast<int>(value));
  }
  return out;
}

bool Fields::boolean(const char* name) {
  const Napi::Value value = get(name);
  if (!value.IsBoolean()) fail(name, "ERR_DTYPE", std::string("must be a boolean, but is ") + type_text(value));
  return value.As<Napi::Boolean>();
}

std::string Fields::string(const char* name) {
  const Napi::Value value = get(name);
  if (!value.IsString()) fail(name, "ERR_DTYPE", std::string("must be a string, but is ") + type_text(value));
  return value.As<Napi::String>();
}

Napi::Array Fields::array(const char* name, size_t max_length) {
  const Napi::Value value = get(name);
  if (!value.IsArray()) fail(name, "ERR_DTYPE", std::string("must be an array, but is ") + type_text(value));
  const Napi::Array array = value.As<Napi::Array>();
  if (array.Length() > max_length) fail(name, "ERR_SHAPE", "has more than " + std::to_string(max_length) + " elements");
  return array;
}

std::vector<int64_t> Fields::integers(const char* name, size_t max_length) {
  std::vector<int64_t> out;
  list(name, max_length, [&](const Napi::Value& element, const std::string& where) {
    if (!element.IsNumber()) throw Error("ERR_DTYPE", where + " must be a number, but is " + type_text(element) + ".");
    const double number = element.As<Napi::Number>().DoubleValue();
    if (!is_integer(number)) throw Error("ERR_OPTION", where + " must be an integer.");
    out.push_back(static_cast<int64_t>(number));
  });
  return out;
}

void Fields::finish() {
  const Napi::Array names = object_.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).ToString();
    const bool known = std::any_of(known_.begin(), known_.end(), [&](const char* k) { return name == k; });
    if (!known) fail(name.substr(0, 60).c_str(), "ERR_OPTION", "is not a known field");
  }
}

}  // namespace pcqat::binding
