// The f32 kernels, compiled once per instruction set. No STL, no inline function shared with other units.
#include "simd/f32_kernels.h"
