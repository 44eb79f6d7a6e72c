// The one exception of the core. binding/ turns it into a PcqatError with the same code.
#pragma once

#include <stdexcept>
#include <string>

namespace pcqat {

class Error : public std::runtime_error {
 public:
  // `code` is one of the stable codes of lib/errors.ts, a string literal.
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const { return code_; }

 private:
  const char* code_;
};

}  // namespace pcqat
