#include "parallel/thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "parallel/denormals.h"

namespace pcqat {

namespace {

// About 50 µs of waiting before a thread gives its core away.
constexpr int kSpins = 2000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

}  // namespace

// A task is published by one store to `ticket`: the generation in the high half, the number of unclaimed chunks in the
// low half. A chunk is claimed by a compare-and-swap on it, which fails if the task has changed meanwhile; so a worker
// that wakes up late can never touch a task that is gone, and the caller never waits for a worker that has no chunk.
struct ThreadPool::State {
  std::atomic<uint64_t> ticket{0};
  std::atomic<Function> function{nullptr};
  std::atomic<void*> context{nullptr};
  std::atomic<int64_t> total{0};
  std::atomic<int64_t> finished{0};

  std::atomic<int> sleepers{0};
  std::atomic<bool> stopping{false};
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;

  // Runs one chunk. False if none is left.
  bool run_one(int worker) {
    uint64_t seen = ticket.load(std::memory_order_acquire);
    while (static_cast<uint32_t>(seen) != 0) {
      // Stable if the swap below succeeds: they only change while no chunk is unclaimed.
      const Function body = function.load(std::memory_order_relaxed);
      void* const argument = context.load(std::memory_order_relaxed);
      const int64_t chunks = total.load(std::memory_order_relaxed);
      if (ticket.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
        body(argument, chunks - static_cast<int64_t>(static_cast<uint32_t>(seen)), worker);
        finished.fetch_add(1, std::memory_order_release);
        return true;
      }
    }
    return false;
  }

  bool has_work() const { return static_cast<uint32_t>(ticket.load()) != 0; }

  void work(int worker) {
    const FlushDenormals flush;
    for (;;) {
      while (run_one(worker)) {
      }
      for (int spin = 0; spin < kSpins && !has_work(); ++spin) pause();
      if (has_work()) continue;
      std::unique_lock<std::mutex> lock(mutex);
      sleepers.fetch_add(1);
      wake.wait(lock, [this] { return stopping.load() || has_work(); });
      sleepers.fetch_sub(1);
      if (stopping.load()) return;
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  try {
    for (int worker = 1; worker < threads; ++worker) {
      state_->workers.emplace_back([state = state_.get(), worker] { state->work(worker); });
    }
  } catch (const std::system_error&) {
    // The system gives no more threads: results do not depend on their number, so go on with the ones there are.
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stopping.store(true);
  }
  state_->wake.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::run(int64_t chunks, Function function, void* context) {
  const FlushDenormals flush;
  State& state = *state_;
  if (chunks <= 1 || state.workers.empty()) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) function(context, chunk, 0);
    return;
  }
  state.function.store(function, std::memory_order_relaxed);
  state.context.store(context, std::memory_order_relaxed);
  state.total.store(chunks, std::memory_order_relaxed);
  state.finished.store(0, std::memory_order_relaxed);
  const uint64_t generation = (state.ticket.load(std::memory_order_relaxed) >> 32) + 1;
  // Sequentially consistent, as is `sleepers`: either this thread sees the sleeper or the sleeper sees the task.
  state.ticket.store((generation << 32) | static_cast<uint64_t>(chunks));
  if (state.sleepers.load() > 0) {
    std::lock_guard<std::mutex> lock(state.mutex);
    state.wake.notify_all();
  }
  while (state.run_one(0)) {
  }
  for (int spin = 0; state.finished.load(std::memory_order_acquire) != chunks; ++spin) {
    if (spin < kSpins)
      pause();
    else
      std::this_thread::yield();
  }
}

}  // namespace pcqat
