// From the objects of binding.d.ts to the structs of program/.
#pragma once

#include "binding/fields.h"
#include "program/session.h"

namespace pcqat::binding {

// Both throw Error with the path of the first field that is missing, unknown or of the wrong type.
Program parse_program(const Napi::Value& spec);
SessionOptions parse_session_options(Fields& fields);

}  // namespace pcqat::binding
