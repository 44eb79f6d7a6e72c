#include <atomic>
#include <chrono>
#include <thread>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include "check.h"
#include "parallel/stages.h"

namespace pcqat::test {

namespace {

// The sum of a bit for every part.
uint64_t all_of(int64_t parts) { return ~uint64_t{0} >> (64 - parts); }

// Every part runs once, after all parts of the stage before, again and again.
void test_stages(Checks& checks, int threads) {
  ThreadPool pool(threads);
  const std::vector<int64_t> parts{3, 1, 64, 2, 1, threads, 7};
  Stages stages(parts);
  std::atomic<bool> ordered{true}, workers_valid{true};
  bool complete = true;
  for (int repeat = 0; repeat < 200; ++repeat) {
    std::vector<std::atomic<uint64_t>> runs(parts.size());
    stages.run(pool, [&](int64_t stage, int64_t part, int worker) {
      if (stage > 0 && runs[stage - 1].load() != all_of(parts[stage - 1])) ordered = false;
      if (worker < 0 || worker >= threads) workers_valid = false;
      runs[stage].fetch_add(uint64_t{1} << part);
    });
    complete = complete && runs.back().load() == all_of(parts.back());
  }
  const std::string with = ", " + std::to_string(threads) + " threads";
  checks.check(ordered.load() && complete, "stages: every part once and in order" + with);
  checks.check(workers_valid.load(), "stages: worker index" + with);
}

#if defined(__linux__)
// A worker that has slept is kept away from its caller's core only until it runs.
void test_cores(Checks& checks) {
  cpu_set_t before, after;
  checks.check(pthread_getaffinity_np(pthread_self(), sizeof before, &before) == 0, "thread pool: cores of the caller");
  ThreadPool pool(3);
  std::atomic<int> restricted{0}, from_workers{0};
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than the workers spin
    pool.parallel_for(3, [&](int64_t, int worker) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // so that every thread gets a chunk
      cpu_set_t cores;
      if (pthread_getaffinity_np(pthread_self(), sizeof cores, &cores) != 0 || !CPU_EQUAL(&cores, &before)) restricted.fetch_add(1);
      if (worker > 0) from_workers.fetch_add(1);
    });
  }
  checks.check(from_workers.load() > 0 && restricted.load() == 0, "thread pool: workers may run on every core again");
  pthread_getaffinity_np(pthread_self(), sizeof after, &after);
  checks.check(CPU_EQUAL(&before, &after), "thread pool: the caller's cores stay its own");
}
#endif

}  // namespace

void test_thread_pool(Checks& checks) {
  for (const int threads : {1, 2, 4, 7}) test_stages(checks, threads);
  for (int threads : {1, 2, 4, 7}) {
    ThreadPool pool(threads);
    checks.check(pool.threads() == threads, "thread pool: size");
    // Every chunk runs exactly once, many calls in a row, from several calling threads in turn.
    bool complete = true, workers_valid = true;
    const auto use = [&] {
      for (int64_t chunks : {0, 1, 2, 3, 17, 1000}) {
        for (int repeat = 0; repeat < 50; ++repeat) {
          std::vector<std::atomic<int>> runs(static_cast<size_t>(chunks));
          std::atomic<bool> valid{true};
          pool.parallel_for(chunks, [&](int64_t chunk, int worker) {
            runs[static_cast<size_t>(chunk)].fetch_add(1);
            if (worker < 0 || worker >= threads) valid = false;
          });
          for (const std::atomic<int>& count : runs) complete = complete && count.load() == 1;
          workers_valid = workers_valid && valid.load();
        }
      }
    };
    use();
    std::thread(use).join();
    checks.check(complete, "thread pool: every chunk once, " + std::to_string(threads) + " threads");
    checks.check(workers_valid, "thread pool: worker index, " + std::to_string(threads) + " threads");
  }
#if defined(__linux__)
  test_cores(checks);
#endif
  // Denormals are flushed inside, on every thread, and the caller's mode comes back.
  volatile float tiny = 1e-39f;
  ThreadPool pool(2);
  std::atomic<int> flushed{0};
  pool.parallel_for(64, [&](int64_t) {
    if (tiny * 1.0f == 0.0f) flushed.fetch_add(1);
  });
  checks.check(flushed.load() == 64, "thread pool: denormals are flushed inside");
  checks.check(tiny * 1.0f != 0.0f, "thread pool: denormals are back outside");
}

}  // namespace pcqat::test
