// The int8 kernels, compiled once per instruction set. No STL, no inline function shared with other units.
#include "simd/int8_kernels.h"
