#include "ops/matmul.h"

#include <algorithm>
#include <cmath>

#include "check.h"

namespace pcqat::test {

namespace {

void run(Checks& checks, const MatmulShape& s, Activation activation, Random& random) {
  const std::vector<float> a = random.floats(s.m * s.k), b = random.floats(s.k * s.n), bias = random.floats(s.n);
  Expected expected;
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < s.n; ++j) {
      double value = bias[j], magnitude = std::fabs(bias[j]);
      for (int64_t l = 0; l < s.k; ++l) {
        const double product = static_cast<double>(s.transpose_a ? a[l * s.m + i] : a[i * s.k + l]) *
                               static_cast<double>(s.transpose_b ? b[j * s.k + l] : b[l * s.n + j]);
        value += product;
        magnitude += std::fabs(product);
      }
      expected.value.push_back(activation == Activation::relu ? std::max(value, 0.0) : value);
      expected.bound.push_back(sum_bound(static_cast<double>(s.k + 1), magnitude));
    }
  }
  const std::string name = "matmul " + std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k) +
                           (s.transpose_a ? " aT" : "") + (s.transpose_b ? " bT" : "");
  checks.everywhere(
      name, [&](int threads) { return matmul_workspace(s, threads); },
      [&](const Context& context) {
        Outputs o{std::vector<float>(static_cast<size_t>(s.m * s.n))};
        matmul(s, a.data(), b.data(), bias.data(), activation, o[0].data(), context);
        return o;
      },
      {expected});
}

void run_dense(Checks& checks, int64_t rows, int64_t in, int64_t out, Random& random) {
  const std::vector<float> x = random.floats(rows * in), kernel = random.floats(in * out), bias = random.floats(out),
                           dy = random.floats(rows * out);
  const auto product = [](int64_t m, int64_t n, int64_t k, auto a, auto b, auto start) {
    Expected expected;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double value = start(j), magnitude = std::fabs(value);
        for (int64_t l = 0; l < k; ++l) {
          const double term = static_cast<double>(a(i, l)) * static_cast<double>(b(l, j));
          value += term;
          magnitude += std::fabs(term);
        }
        expected.value.push_back(value);
        expected.bound.push_back(sum_bound(static_cast<double>(k + 1), magnitude));
      }
    }
    return expected;
  };
  const auto zero = [](int64_t) { return 0.0; };
  checks.everywhere(
      "dense " + std::to_string(rows) + "x" + std::to_string(in) + "x" + std::to_string(out),
      [&](int threads) { return dense_workspace(rows, in, out, threads); },
      [&](const Context& context) {
        Outputs o{std::vector<float>(static_cast<size_t>(rows * out)), std::vector<float>(static_cast<size_t>(rows * in)),
                  std::vector<float>(static_cast<size_t>(in * out)), std::vector<float>(static_cast<size_t>(out))};
        dense_forward(rows, in, out, x.data(), kernel.data(), bias.data(), Activation::none, o[0].data(), context);
        dense_backward_input(rows, in, out, dy.data(), kernel.data(), o[1].data(), context);
        dense_backward_kernel(rows, in, out, x.data(), dy.data(), o[2].data(), o[3].data(), context);
        return o;
      },
      {product(
           rows, out, in, [&](int64_t i, int64_t l) { return x[i * in + l]; }, [&](int64_t l, int64_t j) { return kernel[l * out + j]; },
           [&](int64_t j) { return static_cast<double>(bias[j]); }),
       product(
           rows, in, out, [&](int64_t i, int64_t l) { return dy[i * out + l]; }, [&](int64_t l, int64_t j) { return kernel[j * out + l]; },
           zero),
       product(
           in, out, rows, [&](int64_t i, int64_t l) { return x[l * in + i]; }, [&](int64_t l, int64_t j) { return dy[l * out + j]; }, zero),
       product(
           1, out, rows, [](int64_t, int64_t) { return 1.0f; }, [&](int64_t l, int64_t j) { return dy[l * out + j]; }, zero)});
}

}  // namespace

void test_matmul(Checks& checks) {
  Random random(10);
  for (int i = 0; i < 60; ++i) {
    const auto size = [&] { return random.between(1, random.between(0, 3) == 0 ? 150 : 40); };
    run(checks, {size(), size(), size(), random.between(0, 1) == 1, random.between(0, 1) == 1},
        random.between(0, 1) == 1 ? Activation::relu : Activation::none, random);
  }
  run(checks, {130, 70, 600, false, false}, Activation::none, random);  // several passes over k
  run(checks, {70, 130, 513, true, true}, Activation::relu, random);
  run(checks, {300, 300, 40, false, false}, Activation::none, random);
  run_dense(checks, 1, 1, 1, random);
  run_dense(checks, 100, 64, 12, random);
  run_dense(checks, 3, 700, 37, random);
  run_dense(checks, 77, 33, 129, random);
  // Few rows: the kernel is read in place.
  run_dense(checks, 15, 65, 150, random);
  run_dense(checks, 64, 1, 128, random);
  run_dense(checks, 1, 500, 1030, random);
}

}  // namespace pcqat::test
