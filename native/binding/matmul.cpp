// matmul of binding.d.ts.
#include "ops/matmul.h"

#include <cmath>
#include <memory>

#include "binding/arguments.h"
#include "parallel/thread_pool.h"
#include "program/aligned_buffer.h"

namespace pcqat::binding {
namespace {

int64_t size_argument(const Napi::Value& value, const char* what, double high) {
  const double size = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0;
  if (!(size >= 1 && size <= high && size == std::floor(size))) {
    throw Error("ERR_OPTION", std::string(what) + " must be an integer between 1 and " + std::to_string(static_cast<int64_t>(high)) + ".");
  }
  return static_cast<int64_t>(size);
}

// The threads of the last call of this JavaScript thread: starting them takes longer than a small product.
ThreadPool& pool_of(int threads) {
  static thread_local std::unique_ptr<ThreadPool> pool;
  if (pool == nullptr || pool->threads() != threads) pool = std::make_unique<ThreadPool>(threads);
  return *pool;
}

Napi::Value run_matmul(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    constexpr double kMaxSize = 1 << 24;  // products of two sizes stay exact
    MatmulShape shape{};
    shape.m = size_argument(info[2], "m", kMaxSize);
    shape.n = size_argument(info[3], "n", kMaxSize);
    shape.k = size_argument(info[4], "k", kMaxSize);
    const auto a = array_argument<float>(info[0], "a", shape.m * shape.k);
    const auto b = array_argument<float>(info[1], "b", shape.k * shape.n);
    const auto out = array_argument<float>(info[5], "out", shape.m * shape.n);
    const Kernels& kernels = kernels_argument(info.Env(), info[6]);
    const int threads = info[7].IsUndefined() ? 1 : static_cast<int>(size_argument(info[7], "threads", 256));
    const AlignedBuffer workspace(matmul_workspace(shape, threads));
    matmul(shape, a.data, b.data, nullptr, Activation::none, out.data, {kernels, pool_of(threads), workspace.data()});
    return info.Env().Undefined();
  });
}

}  // namespace

void export_matmul(Napi::Env env, Napi::Object exports) { exports.Set("matmul", Napi::Function::New(env, run_matmul, "matmul")); }

}  // namespace pcqat::binding
