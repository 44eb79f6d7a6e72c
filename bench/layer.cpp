// One convolution layer alone, on the number of threads of the only argument. bench/layers.ts runs this where it is built (target
// pcqat_layer_bench) and asks as it asks the rivals (bench/rival/protocol.py): a JSON request a line on stdin, an answer a line on stdout.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ops/conv.h"
#include "parallel/thread_pool.h"
#include "program/aligned_buffer.h"
#include "simd/kernels.h"

using namespace pcqat;

namespace {

double now() { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The numbers after "key": in a request, one or an array of them.
std::vector<int64_t> numbers(const std::string& request, const std::string& key, size_t count) {
  const std::string label = "\"" + key + "\":";
  size_t at = request.find(label);
  if (at == std::string::npos) throw std::runtime_error("no " + key);
  const char* text = request.c_str() + at + label.size();
  std::vector<int64_t> found;
  while (found.size() < count) {
    char* end = nullptr;
    if (*text == '[' || *text == ',') ++text;
    found.push_back(std::strtoll(text, &end, 10));
    if (end == text) throw std::runtime_error("too few numbers in " + key);
    text = end;
  }
  return found;
}

// Values between -0.5 and 0.5.
class Values {
 public:
  explicit Values(int64_t count) : memory_(static_cast<size_t>(count) * sizeof(float)) {
    uint64_t state = 0x9E3779B97F4A7C15u;
    for (int64_t i = 0; i < count; ++i) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      data()[i] = static_cast<float>(state >> 40) * 0x1p-24f - 0.5f;
    }
  }
  float* data() const { return reinterpret_cast<float*>(memory_.data()); }

 private:
  AlignedBuffer memory_;
};

// A layer's operands and its gradients.
struct Operands {
  Values x, kernel, y, dx, d_kernel;
};

class Layer {
 public:
  // geometry: rows, and what a ConvGeometry lists, without dilation.
  Layer(const std::vector<int64_t>& v, int64_t sets, int threads)
      : rows_(v[0]), g_{v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12], 1, 1},
        workspace_(std::max(conv2d_workspace(g_, threads), conv2d_backward_workspace(g_, rows_, false, threads))) {
    const int64_t in = rows_ * g_.in_h * g_.in_w * g_.in_c, out = rows_ * g_.out_h * g_.out_w * g_.out_c;
    const int64_t weights = g_.kernel_h * g_.kernel_w * g_.in_c * g_.out_c;
    for (int64_t i = 0; i < sets; ++i) sets_.push_back({Values(in), Values(weights), Values(out), Values(in), Values(weights)});
  }

  // Milliseconds of a pass, mean of `repeat` in a row after one more; every pass takes the next operands.
  double time(const std::string& form, int64_t repeat, ThreadPool& pool) {
    pass(form, pool);
    const double start = now();
    for (int64_t i = 0; i < repeat; ++i) pass(form, pool);
    return (now() - start) / static_cast<double>(repeat);
  }

 private:
  void pass(const std::string& form, ThreadPool& pool) {
    const Operands& o = sets_[turn_++ % sets_.size()];
    const Context context{*find_kernels(nullptr), pool, workspace_.data()};
    if (form == "forward")
      return conv2d_forward(g_, rows_, {o.x.data()}, o.kernel.data(), nullptr, Activation::none, o.y.data(), nullptr, context);
    // The gradient of the output lies where the output does.
    float* const dx = form == "backward" ? o.dx.data() : nullptr;
    conv2d_backward(g_, rows_, {o.x.data()}, o.kernel.data(), {o.y.data()}, {dx, o.d_kernel.data()}, false, context);
  }

  int64_t rows_;
  ConvGeometry g_;
  AlignedBuffer workspace_;
  std::vector<Operands> sets_;
  size_t turn_ = 0;
};

std::string form_of(const std::string& request) {
  for (const char* form : {"forward", "backward", "kernel"}) {
    if (request.find(std::string("\"form\":\"") + form + "\"") != std::string::npos) return form;
  }
  throw std::runtime_error("unknown form");
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  ThreadPool pool(threads);
  std::unique_ptr<Layer> layer;
  for (std::string request; std::getline(std::cin, request);) {
    try {
      double answer = 0;
      if (request.find("\"do\":\"prepare\"") != std::string::npos) {
        layer.reset();
        layer = std::make_unique<Layer>(numbers(request, "geometry", 13), numbers(request, "sets", 1)[0], threads);
      } else if (layer != nullptr) {
        answer = layer->time(form_of(request), numbers(request, "repeat", 1)[0], pool);
      } else {
        throw std::runtime_error("run before prepare");
      }
      std::cout << "{\"ok\":" << answer << "}" << std::endl;
    } catch (const std::exception& error) {
      std::cout << "{\"error\":\"" << error.what() << "\"}" << std::endl;
    }
  }
}
