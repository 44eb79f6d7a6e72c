// A small harness: runs an operator on every instruction set with 1, 2 and 4 threads and checks it against a naive
// reference in double, with a bound per element.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/common.h"
#include "parallel/thread_pool.h"
#include "simd/kernels.h"

namespace pcqat::test {

constexpr double kEpsilon = 5.9604644775390625e-8;  // half an ulp of 1.0f

// Rounding errors of a sum of n products behave like a random walk: c * sqrt(n) * eps * Σ|terms| bounds them with a wide
// margin, and stays far below the n * eps * Σ|terms| of the worst case. Chunked sums only do better.
double sum_bound(double terms, double magnitude);

struct Random {
  uint64_t state;
  explicit Random(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint64_t next();
  double uniform();                            // [0, 1)
  int64_t between(int64_t low, int64_t high);  // inclusive
  std::vector<float> floats(int64_t count, double low = -1, double high = 1);
};

using Outputs = std::vector<std::vector<float>>;

struct Expected {
  std::vector<double> value, bound;  // |output - value| <= bound
};

class Checks {
 public:
  void check(bool ok, const std::string& what);
  // `op` gets a context and a workspace of workspace_size(threads) bytes, filled with NaN. Returns the outputs of the best
  // instruction set.
  Outputs everywhere(const std::string& name, const std::function<size_t(int threads)>& workspace_size,
                     const std::function<Outputs(const Context&)>& op, const std::vector<Expected>& expected);
  int finish() const;  // prints the summary, returns the exit code

 private:
  void compare(const std::string& name, const Outputs& outputs, const Outputs& scalar, const std::vector<Expected>& expected);
  int passed_ = 0, failed_ = 0;
};

// Runs `op` once on one instruction set.
Outputs run_once(const Kernels& kernels, int threads, size_t workspace_size, const std::function<Outputs(const Context&)>& op);

void test_matmul(Checks& checks);
void test_conv(Checks& checks);
void test_conv_codes(Checks& checks);
void test_depthwise(Checks& checks);
void test_norm(Checks& checks);
void test_elementwise(Checks& checks);
void test_fake_quant(Checks& checks);
void test_pool(Checks& checks);
void test_loss(Checks& checks);
void test_optim(Checks& checks);
void test_cluster(Checks& checks);
void test_weight_chain(Checks& checks);
void test_mask(Checks& checks);
void test_int8_fused(Checks& checks);
void test_chunks(Checks& checks);
void test_unary(Checks& checks);
void test_multiply(Checks& checks);
void test_concat(Checks& checks);
void test_conv_transpose(Checks& checks);
void test_upsample(Checks& checks);
void test_thread_pool(Checks& checks);

}  // namespace pcqat::test
