// Strict reading of JavaScript objects: every field is known, present and of its type, or the error gives its path.
#pragma once

#include <array>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "binding/binding.h"

namespace pcqat::binding {

class Fields {
 public:
  // Throws unless `value` is an object (not an array). `path` is e.g. "instructions[3]".
  Fields(const Napi::Value& value, std::string path);

  // Present and not undefined. Marks the field as known.
  bool has(const char* name);
  // Throws when absent.
  Napi::Value get(const char* name);
  std::string path(const char* name) const { return path_.empty() ? name : path_ + "." + name; }

  double number(const char* name);
  double number(const char* name, double fallback) { return has(name) ? number(name) : fallback; }
  int64_t integer(const char* name);
  // Within [low, high], else ERR_OPTION.
  int64_t integer(const char* name, int64_t low, int64_t high);
  int64_t integer(const char* name, int64_t low, int64_t high, int64_t fallback) { return has(name) ? integer(name, low, high) : fallback; }
  // The index of a tensor or value; kNone is never returned. Range checks are the validator's.
  int id(const char* name);
  int id(const char* name, int fallback) { return has(name) ? id(name) : fallback; }
  // Indices; see id().
  std::vector<int> ids(const char* name, size_t max_length);
  bool boolean(const char* name);
  bool boolean(const char* name, bool fallback) { return has(name) ? boolean(name) : fallback; }
  std::string string(const char* name);
  std::vector<int64_t> integers(const char* name, size_t max_length);
  template <size_t N>
  std::array<int64_t, N> integers(const char* name) {
    const std::vector<int64_t> list = integers(name, N);
    if (list.size() != N) fail(name, "ERR_SHAPE", "must have " + std::to_string(N) + " elements");
    std::array<int64_t, N> out;
    for (size_t i = 0; i < N; ++i) out[i] = list[i];
    return out;
  }
  // Calls each(element, path of the element).
  template <typename Each>
  void list(const char* name, size_t max_length, Each&& each) {
    const Napi::Array array = this->array(name, max_length);
    for (uint32_t i = 0; i < array.Length(); ++i) each(array.Get(i), path(name) + "[" + std::to_string(i) + "]");
  }
  // One of the given strings.
  template <typename T>
  T choice(const char* name, std::initializer_list<std::pair<const char*, T>> choices) {
    const std::string text = string(name);
    std::string known;
    for (const auto& [key, value] : choices) {
      if (text == key) return value;
      known += (known.empty() ? "'" : ", '") + std::string(key) + "'";
    }
    fail(name, "ERR_OPTION", "is '" + text.substr(0, 40) + "', but must be one of " + known);
  }

  // Throws when the object has a field that was not asked for.
  void finish();
  [[noreturn]] void fail(const char* name, const char* code, const std::string& what) const;

 private:
  Napi::Array array(const char* name, size_t max_length);

  Napi::Object object_;
  std::string path_;
  std::vector<const char*> known_;
};

}  // namespace pcqat::binding
