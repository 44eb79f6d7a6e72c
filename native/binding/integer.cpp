#include "binding/binding.h"

namespace pcqat::binding {

void export_integer(Napi::Env, Napi::Object) {}

}  // namespace pcqat::binding
