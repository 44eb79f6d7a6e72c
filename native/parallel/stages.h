// Tasks that run one after another, each cut into parts, by all threads of a pool in one go. Handing every task over on its own would
// take as long as many of them do; here threads that finish a stage wait for each other and go on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/thread_pool.h"

namespace pcqat {

class Stages {
 public:
  // Parts of a stage that threads can share.
  static constexpr int64_t kMostParts = 64;

  // The number of parts of every stage, 1 to kMostParts.
  explicit Stages(const std::vector<int64_t>& parts);

  // Runs body(stage, part, worker), which must not throw, for all parts of a stage before any of the next. Part i is for worker i, unless
  // that thread does not come in time.
  template <typename Body>
  void run(ThreadPool& pool, Body&& body) {
    start();
    pool.parallel_for(pool.threads(), [&](int64_t, int worker) {
      int patience = kPatience;
      for (int64_t s = 0; s < count_; ++s) {
        Stage& stage = stages_[s];
        for (int64_t part = first_part(stage, worker, patience); part >= 0; part = next_part(stage, patience)) {
          body(s, part, worker);
          stage.finished.fetch_add(1, std::memory_order_release);
        }
      }
    });
  }

 private:
  struct alignas(64) Stage {
    std::atomic<uint64_t> taken{0};  // a bit for every part
    std::atomic<int64_t> finished{0};
    int64_t parts = 1;

    bool take(int64_t part);
    bool is_finished() const { return finished.load(std::memory_order_acquire) == parts; }
  };

  void start();
  // About 1 µs: how long a part is left to the worker that it is for, whose cache holds what it made in the stage before.
  static constexpr int kPatience = 40;

  // The worker's own part or another that nobody takes, and so on; −1 when all are finished. Who once had to take another's part has no
  // patience any more.
  static int64_t first_part(Stage& stage, int worker, int& patience);
  static int64_t next_part(Stage& stage, int& patience);

  int64_t count_;
  std::unique_ptr<Stage[]> stages_;
};

}  // namespace pcqat
