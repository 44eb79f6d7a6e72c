#include "parallel/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "parallel/core_spread.h"
#include "parallel/denormals.h"
#include "parallel/spin.h"

namespace pcqat {

namespace {

using Function = void (*)(void* context, int64_t chunk, int worker);

// The unclaimed chunks [begin, end) of a worker's share, with the generation of the task they belong to, in one word; and the task, in the
// same line of the cache, so that a worker that waits for its share gets both at once.
struct alignas(64) Share {
  static constexpr int kBits = 20;
  static constexpr uint64_t kMost = (uint64_t{1} << kBits) - 1;  // chunks of a task; no caller comes near

  static uint64_t pack(uint64_t generation, uint64_t begin, uint64_t end) { return generation << 2 * kBits | begin << kBits | end; }
  static uint64_t begin(uint64_t word) { return word >> kBits & kMost; }
  static uint64_t end(uint64_t word) { return word & kMost; }
  static bool is_empty(uint64_t word) { return begin(word) == end(word); }
  static uint64_t generation(uint64_t word) { return word >> 2 * kBits; }

  std::atomic<uint64_t> word{0};
  std::atomic<Function> function{nullptr};
  std::atomic<void*> context{nullptr};
};

}  // namespace

// Every worker owns an equal, contiguous share of a task's chunks, so that it meets the same rows of a batch from layer to
// layer while they are in its core's cache; whoever is done takes chunks from the far end of another's share.
//
// A share is published by one store to its word. A chunk is claimed by a compare-and-swap on it, which fails if the task has
// changed meanwhile; so a worker that wakes up late can never touch a task that is gone, and the caller never waits for a
// worker that has no chunk.
struct ThreadPool::State {
  explicit State(int threads) : shares(static_cast<size_t>(threads)), spread(shares.size()) {}

  std::vector<Share> shares;
  alignas(64) std::atomic<int64_t> finished{0};  // chunks, by workers

  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> stopping{false};
  std::mutex mutex;
  std::condition_variable wake;
  CoreSpread spread;  // with the mutex
  std::vector<std::thread> workers;

  // Runs one chunk of a share. False if none is left.
  bool run_one_of(Share& share, bool is_own, int worker) {
    uint64_t seen = share.word.load(std::memory_order_acquire);
    while (!Share::is_empty(seen)) {
      // Stable if the swap below succeeds: they only change while no chunk is unclaimed.
      const Function body = share.function.load(std::memory_order_relaxed);
      void* const argument = share.context.load(std::memory_order_relaxed);
      const uint64_t begin = Share::begin(seen) + (is_own ? 1 : 0), end = Share::end(seen) - (is_own ? 0 : 1);
      const uint64_t chunk = is_own ? Share::begin(seen) : end;
      const uint64_t rest = Share::pack(Share::generation(seen), begin, end);
      if (share.word.compare_exchange_weak(seen, rest, std::memory_order_acq_rel, std::memory_order_acquire)) {
        body(argument, static_cast<int64_t>(chunk), worker);
        return true;
      }
    }
    return false;
  }

  bool run_one(int worker) {
    const size_t count = shares.size(), own = static_cast<size_t>(worker);
    for (size_t i = 0; i < count; ++i) {
      if (run_one_of(shares[(own + i) % count], i == 0, worker)) return true;
    }
    return false;
  }

  bool has_work() const {
    return std::any_of(shares.begin(), shares.end(), [](const Share& share) { return !Share::is_empty(share.word.load()); });
  }

  void work(int worker) {
    const FlushDenormals flush;
    const Share& own = shares[static_cast<size_t>(worker)];
    for (;;) {
      while (run_one(worker)) finished.fetch_add(1, std::memory_order_release);
      // A look at the others' shares would take their lines of the cache away while they are at work. Another word is a new task, even if
      // its chunks are taken already.
      const uint64_t seen = own.word.load(std::memory_order_acquire);
      for (int spin = 0; spin < kSpins && Share::is_empty(seen) && own.word.load(std::memory_order_acquire) == seen; ++spin) pause();
      if (own.word.load(std::memory_order_acquire) != seen || has_work()) continue;
      std::unique_lock<std::mutex> lock(mutex);
      sleepers.fetch_add(1);
      spread.sleeps(static_cast<size_t>(worker));
      wake.wait(lock, [this] { return stopping.load() || has_work(); });
      spread.wakes(static_cast<size_t>(worker));
      sleepers.fetch_sub(1);
      if (stopping.load()) return;
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>(std::max(threads, 1))) {
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
  const int64_t most = static_cast<int64_t>(Share::kMost);
  if (chunks <= 1 || state.workers.empty() || chunks > most) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) function(context, chunk, 0);
    return;
  }
  state.finished.store(0, std::memory_order_relaxed);
  const uint64_t total = static_cast<uint64_t>(chunks), workers = state.workers.size() + 1;
  const uint64_t generation = Share::generation(state.shares[0].word.load(std::memory_order_relaxed)) + 1;
  for (uint64_t worker = workers; worker-- > 0;) {
    Share& share = state.shares[worker];
    share.function.store(function, std::memory_order_relaxed);
    share.context.store(context, std::memory_order_relaxed);
    // Sequentially consistent, as is `sleepers`: either this thread sees the sleeper or the sleeper sees the task.
    share.word.store(Share::pack(generation, total * worker / workers, total * (worker + 1) / workers));
  }
  if (state.sleepers.load() > 0) {
    std::lock_guard<std::mutex> lock(state.mutex);
    state.spread.keep_away(state.workers);
    state.wake.notify_all();
  }
  int64_t left = chunks;
  while (state.run_one(0)) --left;
  for (int spin = 0; state.finished.load(std::memory_order_acquire) != left; ++spin) {
    if (spin < kSpins)
      pause();
    else
      std::this_thread::yield();
  }
}

}  // namespace pcqat
