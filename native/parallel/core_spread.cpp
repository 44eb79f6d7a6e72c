#include "parallel/core_spread.h"

#if defined(__linux__)

#include <pthread.h>
#include <sched.h>

#include <cstring>

namespace pcqat {

void CoreSpread::wakes(size_t thread) {
  is_asleep_[thread] = false;
  if (cores_.empty()) return;
  cpu_set_t all;
  std::memcpy(&all, cores_.data(), sizeof all);
  pthread_setaffinity_np(pthread_self(), sizeof all, &all);
}

void CoreSpread::keep_away(std::vector<std::thread>& threads) {
  cores_.clear();
  cpu_set_t all;
  const int here = sched_getcpu();
  if (here < 0 || here >= CPU_SETSIZE || pthread_getaffinity_np(pthread_self(), sizeof all, &all) != 0) return;
  cpu_set_t others = all;
  CPU_CLR(here, &others);
  if (CPU_COUNT(&others) == 0) return;
  const auto* bytes = reinterpret_cast<const unsigned char*>(&all);
  cores_.assign(bytes, bytes + sizeof all);
  for (size_t i = 0; i < threads.size(); ++i) {
    if (is_asleep_[i + 1]) pthread_setaffinity_np(threads[i].native_handle(), sizeof others, &others);
  }
}

}  // namespace pcqat

#else

namespace pcqat {

void CoreSpread::wakes(size_t thread) { is_asleep_[thread] = false; }
void CoreSpread::keep_away(std::vector<std::thread>&) {}

}  // namespace pcqat

#endif
