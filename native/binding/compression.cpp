#include "binding/binding.h"

namespace pcqat::binding {

void export_compression(Napi::Env, Napi::Object) {}

}  // namespace pcqat::binding
