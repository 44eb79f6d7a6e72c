#include "binding/binding.h"

namespace pcqat::binding {

void export_cuda(Napi::Env, Napi::Object) {}

}  // namespace pcqat::binding
