#include "check.h"

#include <cmath>

namespace pcqat::test {

double sum_bound(double terms, double magnitude) { return (4 + 2 * std::sqrt(terms)) * kEpsilon * magnitude + 1e-37; }

uint64_t Random::next() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state * 0x2545F4914F6CDD1Du;
}

double Random::uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

int64_t Random::between(int64_t low, int64_t high) { return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1)); }

std::vector<float> Random::floats(int64_t count, double low, double high) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(low + (high - low) * uniform());
  return values;
}

Outputs run_once(const Kernels& kernels, int threads, size_t workspace_size, const std::function<Outputs(const Context&)>& op) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  const size_t size = (workspace_size + 63) / 64 * 64 + 64;
  const std::unique_ptr<void, Free> workspace(std::aligned_alloc(64, size));
  std::memset(workspace.get(), 0xff, size);
  ThreadPool pool(threads);
  return op({kernels, pool, workspace.get()});
}

void Checks::check(bool ok, const std::string& what) {
  if (ok) {
    ++passed_;
  } else {
    ++failed_;
    std::printf("FAILED %s\n", what.c_str());
  }
}

void Checks::compare(const std::string& name, const Outputs& outputs, const Outputs& scalar, const std::vector<Expected>& expected) {
  for (size_t o = 0; o < outputs.size(); ++o) {
    for (size_t i = 0; i < outputs[o].size(); ++i) {
      const double got = outputs[o][i], wanted = expected[o].value[i], bound = expected[o].bound[i];
      const bool close = std::fabs(got - wanted) <= bound || (std::isnan(got) && std::isnan(wanted)) || got == wanted;
      const bool like_scalar = std::fabs(got - static_cast<double>(scalar[o][i])) <= bound || close;
      if (close && like_scalar) continue;
      check(false, name + ": output " + std::to_string(o) + "[" + std::to_string(i) + "] is " + std::to_string(got) + ", expected " +
                       std::to_string(wanted) + " ± " + std::to_string(bound) + " (scalar " + std::to_string(scalar[o][i]) + ")");
      return;
    }
  }
  check(true, name);
}

Outputs Checks::everywhere(const std::string& name, const std::function<size_t(int)>& workspace_size,
                           const std::function<Outputs(const Context&)>& op, const std::vector<Expected>& expected) {
  const Kernels* tables[kMostKernels];
  const int count = supported_kernels(tables);
  Outputs scalar, last;
  for (int t = 0; t < count; ++t) {
    const std::string where = name + " on " + tables[t]->isa;
    for (int threads : {1, 2, 4}) {
      const Outputs outputs = run_once(*tables[t], threads, workspace_size(threads), op);
      if (threads == 1) {
        if (t == 0) scalar = outputs;
        last = outputs;
        bool shapes = outputs.size() == expected.size();
        for (size_t o = 0; shapes && o < outputs.size(); ++o) shapes = outputs[o].size() == expected[o].value.size();
        check(shapes, where + ": output sizes");
        if (shapes) compare(where, outputs, scalar, expected);
        continue;
      }
      bool same = true;
      for (size_t o = 0; o < outputs.size(); ++o) {
        same = same && std::memcmp(outputs[o].data(), last[o].data(), sizeof(float) * outputs[o].size()) == 0;
      }
      check(same, where + ": " + std::to_string(threads) + " threads give other bytes than 1");
    }
  }
  return last;
}

int Checks::finish() const {
  std::printf("kernels_test: %d passed, %d failed\n", passed_, failed_);
  return failed_ == 0 ? 0 : 1;
}

}  // namespace pcqat::test
