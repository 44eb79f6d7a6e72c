#include "binding/binding.h"

namespace pcqat::binding {

void export_session(Napi::Env, Napi::Object) {}

}  // namespace pcqat::binding
