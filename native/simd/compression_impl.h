// The compression kernels, compiled once per instruction set. No STL, no inline function shared with other units.
#include "simd/compression_kernels.h"
