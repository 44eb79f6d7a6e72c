// Waiting for another thread without giving the core away.
#pragma once

namespace pcqat {

// About 50 µs of `pause`, after which a thread gives its core away.
constexpr int kSpins = 2000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

}  // namespace pcqat
