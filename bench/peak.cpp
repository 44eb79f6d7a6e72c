// The most this machine can do: multiply-adds from registers, and copies from memory. Compiled and run by bench/peak.ts.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#ifdef __AVX512F__
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
constexpr int kLanes = kBytes / 4;
typedef float vec __attribute__((vector_size(kBytes)));

static double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Twelve independent sums, named so that they stay in registers, hide the latency of the multiply-add on every CPU of today.
static double register_gflops(double seconds) {
  vec zero = {};
  vec x = zero + 1.0000001f, y = zero + 1e-9f;
  // different values, or the compiler would compute one sum for all
  vec a = zero, b = a + 1, c = b + 1, d = c + 1, e = d + 1, f = e + 1, g = f + 1, h = g + 1, i = h + 1, j = i + 1, k = j + 1, l = k + 1;
  double best = 0;
  for (double end = now() + seconds; now() < end;) {
    const int rounds = 400000;
    const double start = now();
    for (int r = 0; r < rounds; r++) {
      a = a * x + y;
      b = b * x + y;
      c = c * x + y;
      d = d * x + y;
      e = e * x + y;
      f = f * x + y;
      g = g * x + y;
      h = h * x + y;
      i = i * x + y;
      j = j * x + y;
      k = k * x + y;
      l = l * x + y;
    }
    best = std::max(best, 2.0 * kLanes * 12 * rounds / (now() - start) / 1e9);
  }
  vec total = a + b + c + d + e + f + g + h + i + j + k + l;
  volatile float sink = total[0];
  (void)sink;
  return best;
}

static double copy_gbs(double seconds) {
  const size_t bytes = size_t{64} << 20;
  std::vector<char> from(bytes, 1), to(bytes, 2);
  double best = 0;
  for (double end = now() + seconds; now() < end;) {
    const double start = now();
    std::memcpy(to.data(), from.data(), bytes);
    asm volatile("" : : "r"(to.data()) : "memory");
    best = std::max(best, 2.0 * bytes / (now() - start) / 1e9);
  }
  return best;
}

template <typename Work>
static double on_all(int threads, Work work) {
  std::vector<double> rate(threads);
  std::vector<std::thread> pool;
  for (int t = 0; t < threads; t++) pool.emplace_back([&, t] { rate[t] = work(1.0); });
  for (std::thread& thread : pool) thread.join();
  double sum = 0;
  for (double r : rate) sum += r;
  return sum;
}

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  std::printf("{\"lanes\":%d,\"gflops1\":%.1f,\"gflops\":%.1f,\"copyGBs1\":%.1f,\"copyGBs\":%.1f}\n", kLanes, on_all(1, register_gflops),
              on_all(threads, register_gflops), on_all(1, copy_gbs), on_all(threads, copy_gbs));
}
