// What must be part of its caller's loop, whatever the compiler thinks of its size.
#pragma once

#define PCQAT_INLINE inline __attribute__((always_inline))
#define PCQAT_INLINE_LAMBDA __attribute__((always_inline))
