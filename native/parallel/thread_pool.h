// A fixed set of worker threads that run the chunks of one task at a time.
//
// Determinism: the caller cuts work into chunks by shape, never by thread count, and every chunk writes only its own
// output (partial sums are reduced afterwards in chunk order). Which thread runs which chunk then cannot matter.
//
// Denormals: bodies run with flush-to-zero and denormals-are-zero on every thread, the calling one included (restored
// afterwards), whatever the number of threads. TensorFlow's threads do the same. Dying Adam moments would otherwise slow
// training down tenfold.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace pcqat {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // including the calling thread; 1 = no workers
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Runs body(chunk) for chunk in [0, chunks) and returns when all are done. `body` must not throw and must not call
  // parallel_for. `worker` in body(chunk, worker) is in [0, threads()), for scratch memory per thread.
  template <typename Body>
  void parallel_for(int64_t chunks, Body&& body) {
    using B = std::remove_reference_t<Body>;
    run(
        chunks,
        [](void* context, int64_t chunk, int worker) {
          if constexpr (std::is_invocable_v<B&, int64_t, int>)
            (*static_cast<B*>(context))(chunk, worker);
          else
            (*static_cast<B*>(context))(chunk);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Function = void (*)(void* context, int64_t chunk, int worker);
  void run(int64_t chunks, Function function, void* context);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pcqat
