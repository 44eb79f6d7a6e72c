// Lets threads that are woken start on another core than the one that wakes them.
//
// Linux wakes a thread on the core of the one that wakes it or on its own last one, and looks for an idle core only among those that share
// a cache. On virtual machines none may seem to: both threads then take turns on one core for milliseconds, while another is idle.
//
// Its user makes the calls one at a time.
#pragma once

#include <cstddef>
#include <thread>
#include <vector>

namespace pcqat {

class CoreSpread {
 public:
  explicit CoreSpread(size_t threads) : is_asleep_(threads) {}
  // By a thread, before it sleeps and when it is awake again and may be anywhere.
  void sleeps(size_t thread) { is_asleep_[thread] = true; }
  void wakes(size_t thread);
  // By the one that is about to wake those that sleep, threads[i] being number i + 1.
  void keep_away(std::vector<std::thread>& threads);

 private:
  std::vector<bool> is_asleep_;
  std::vector<unsigned char> cores_;  // that every thread may use, if those that sleep were kept away from one; empty: they were not
};

}  // namespace pcqat
