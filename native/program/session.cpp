#include "program/session.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.h"
#include "ops/elementwise.h"
#include "program/validate.h"
#include "simd/kernels.h"

namespace pcqat {
namespace {

Program validated(Program program, const SessionOptions& options) {
  validate(program, options.max_batch);
  for (size_t i = 0; options.training && i < program.instructions.size(); ++i) {
    if (program.instructions[i].op != Op::requantize) continue;
    throw Error("ERR_OPTION", "The " + instruction_text(program, i) + ": a requantization has no gradient, so it cannot be trained.");
  }
  return program;
}

// Refuses a program that cannot fit before anything is allocated for it.
void check_memory(size_t bytes) {
  const size_t machine = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
  if (bytes <= machine) return;
  throw Error("ERR_OUT_OF_MEMORY", "The session needs " + std::to_string(bytes >> 20) + " MiB, but this machine has " +
                                       std::to_string(machine >> 20) + " MiB. Use a smaller maxBatch or model.");
}

}  // namespace

Session::Session(Program program, const SessionOptions& options, const Kernels& kernels)
    : program_(validated(std::move(program), options)), options_(options), kernels_(kernels), pool_(options.threads) {
  if (options_.bf16_gradients && kernels_.bf16_product == nullptr) {
    throw Error("ERR_OPTION", "gradients: 'bf16' needs a CPU with AVX-512 BF16, but this session runs on " + std::string(kernels_.isa) +
                                  ". Leave the option out to train in f32.");
  }
  std::vector<bool> gradients(program_.tensors.size(), false);
  if (options_.training) {
    for (size_t t = 0; t < gradients.size(); ++t) gradients[t] = program_.tensors[t].trainable;
    for (const WeightChainSpec& chain : program_.chains) {
      if (chain.centroids != kNone && program_.tensors[chain.centroids].trainable) gradients[chain.weight] = true;
    }
  }
  plan_ = plan_memory(program_, gradients, options_.max_batch, options_.training, options_.keep_values);
  plan_state();
  if (options_.training) plan_parts();
  find_code_sources();
  gradient_buffers_.assign(gradients.size(), kNone);
  const int end = plan_.last_step;
  for (size_t t = 0; t < gradients.size(); ++t) {
    if (gradients[t]) gradient_buffers_[t] = plan_.arena.add(program_.tensors[t].count * sizeof(float), 0, end);
  }
  plan_buffers(gradients);
  plan_.arena.solve();
  check_memory(plan_.arena.total() + state_.bytes());
  arena_ = AlignedBuffer(plan_.arena.total());
  for (size_t t = 0; t < gradients.size(); ++t) {
    if (gradients[t]) tensors_[t].gradient = arena_f32(gradient_buffers_[t]);
  }
  if (statistics_buffer_ != kNone) {
    Carver carver(arena_data(statistics_buffer_));
    statistics_ = OutputStatistics::plan(statistics_channels_, carver);
  }
  for (size_t c = 0; c < chains_.size(); ++c) {
    chains_[c].used = arena_f32(used_buffers_[c]);
    if (table_buffers_[c] != kNone) chains_[c].table = arena_f32(table_buffers_[c]);
  }
}

// Tensors, slots and copies: memory that outlives a call.
void Session::plan_state() {
  ArenaPlanner planner;  // all alive together: a running sum with alignment
  const size_t count = program_.tensors.size();
  tensors_.resize(count);
  std::vector<int> data(count), slots[2];
  for (const WeightChainSpec& chain : program_.chains) {
    if (chain.indices != kNone) tensors_[chain.indices].has_small_indices = takes_small_indices(bind_chain(chain));
  }
  for (size_t t = 0; t < count; ++t) data[t] = planner.add(tensor_bytes(static_cast<int>(t)), 0, 0);
  for (int s = 0; s < slot_count(); ++s) {
    slots[s].assign(count, kNone);
    for (size_t t = 0; t < count; ++t) {
      if (program_.tensors[t].trainable) slots[s][t] = planner.add(program_.tensors[t].count * sizeof(float), 0, 0);
    }
  }
  written_ = written_tensors();
  std::vector<int> copies;
  for (const Written& w : written_) copies.push_back(planner.add(tensor_bytes(w.tensor), 0, 0));
  planner.solve();
  check_memory(planner.total());
  state_ = AlignedBuffer(planner.total());
  for (size_t t = 0; t < count; ++t) {
    tensors_[t].data = state_.data() + planner.offset(data[t]);
    for (int s = 0; s < slot_count(); ++s) {
      if (slots[s][t] != kNone) tensors_[t].slots[s] = reinterpret_cast<float*>(state_.data() + planner.offset(slots[s][t]));
    }
  }
  for (size_t i = 0; i < written_.size(); ++i) written_[i].copy = state_.data() + planner.offset(copies[i]);
  for (size_t c = 0; c < program_.chains.size(); ++c) {
    tensors_[program_.chains[c].weight].chain = static_cast<int>(c);
    chains_.push_back(bind_chain(program_.chains[c]));
    bind_indices(c);
  }
  for (size_t c = 0; c < chains_.size(); ++c) {
    if (!is_small(c)) continue;
    small_chains_.push_back(c);
    small_chain_workspace_ = std::max(small_chain_workspace_, weight_chain_workspace(chains_[c], options_.threads));
  }
  chain_violations_.resize(chains_.size());
  chain_squares_.assign(chains_.size(), 0.0);
  one_pass_.assign(chains_.size(), false);
}

WeightChain Session::bind_chain(const WeightChainSpec& spec) const {
  const TensorSpec& weight = program_.tensors[spec.weight];
  WeightChain chain;
  chain.size = weight.count;
  chain.channels = weight.shape.back();
  chain.weight = f32(spec.weight);
  if (spec.mask != kNone) chain.mask = tensors_[spec.mask].data;
  chain.mask_gradient = spec.mask_gradient;
  if (spec.centroids != kNone) {
    chain.centroids = f32(spec.centroids);
    chain.k = program_.tensors[spec.centroids].shape.back();
    chain.codebook_per_channel = spec.codebook_per_channel;
    if (spec.zero_index != kNone) chain.zero_index = reinterpret_cast<int32_t*>(tensors_[spec.zero_index].data);
    chain.zero_pin_equal = spec.zero_pin_equal;
    chain.average = spec.average;
  }
  if (spec.fake_quant.min != kNone) {
    chain.min = f32(spec.fake_quant.min);
    chain.max = f32(spec.fake_quant.max);
    chain.range_per_channel = spec.range_per_channel;
    chain.rule = spec.fake_quant.rule();
  }
  return chain;
}

void Session::bind_indices(size_t chain) {
  const int indices = program_.chains[chain].indices;
  if (indices == kNone) return;
  if (tensors_[indices].has_small_indices)
    chains_[chain].small_indices = tensors_[indices].data;
  else
    chains_[chain].indices = reinterpret_cast<int32_t*>(tensors_[indices].data);
}

std::vector<Session::Written> Session::written_tensors() const {
  std::vector<Written> written;
  auto add = [&](int tensor, bool is_small, bool is_rewritten = false) {
    const auto same = [&](const Written& w) { return w.tensor == tensor; };
    if (tensor != kNone && std::none_of(written.begin(), written.end(), same)) written.push_back({tensor, nullptr, is_small, is_rewritten});
  };
  for (const Instruction& in : program_.instructions) {
    if (options_.training) {
      add(in.moving_mean, true);
      add(in.moving_variance, true);
    }
    if (in.fake_quant.update != RangeUpdate::none) {
      add(in.fake_quant.min, true);
      add(in.fake_quant.max, true);
    }
  }
  if (!options_.training) return written;  // chains then only write what follows from the rest of the state
  for (const WeightChainSpec& chain : program_.chains) {
    if (chain.zero_index != kNone) add(chain.centroids, false);
    add(chain.indices, false, true);
    add(chain.fake_quant.min, true);
    add(chain.fake_quant.max, true);
  }
  return written;
}

void Session::save_written(ForwardMode mode) {
  for (Written& w : written_) {
    uint8_t*& data = tensors_[w.tensor].data;
    if (w.is_rewritten && mode == ForwardMode::training) {
      std::swap(data, w.copy);
      continue;
    }
    const Chunks chunks = chunks_of(static_cast<int64_t>(tensor_bytes(w.tensor)), kChunkElements * sizeof(float));
    pool_.parallel_for(chunks.count, [&](int64_t chunk) {
      std::memcpy(w.copy + chunks.begin(chunk), data + chunks.begin(chunk), static_cast<size_t>(chunks.length(chunk)));
    });
  }
  for (size_t c = 0; c < chains_.size(); ++c) bind_indices(c);
}

void Session::restore_written() {
  for (const Written& w : written_) std::memcpy(tensors_[w.tensor].data, w.copy, tensor_bytes(w.tensor));
  chains_dirty_ = true;
}

size_t Session::tensor_bytes(int tensor) const {
  const TensorSpec& spec = program_.tensors[tensor];
  return static_cast<size_t>(spec.count) * (tensors_[tensor].has_small_indices ? 1 : element_size(spec.dtype));
}

void Session::get_tensor(int tensor, void* data) const {
  const uint8_t* from = tensors_[tensor].data;
  if (tensors_[tensor].has_small_indices)
    std::copy(from, from + program_.tensors[tensor].count, static_cast<int32_t*>(data));
  else
    std::memcpy(data, from, tensor_bytes(tensor));
}

int Session::slot_count() const {
  if (!options_.training || options_.optimizer.kind == OptimizerKind::none) return 0;
  return options_.optimizer.kind == OptimizerKind::sgd ? 1 : 2;
}

int64_t Session::target_width() const {
  const LossSpec& loss = program_.loss;
  if (loss.kind == LossKind::none || (loss.kind == LossKind::softmax_cross_entropy && !loss.dense_labels)) return 1;
  return program_.values[loss.value].count;
}

void Session::set_tensor(int tensor, const void* data) {
  const TensorSpec& spec = program_.tensors[tensor];
  auto fail = [&](const char* code, int64_t i, const std::string& what) {
    throw Error(code, "Element " + std::to_string(i) + " of the tensor '" + spec.name + "' " + what + ".");
  };
  if (spec.dtype == DType::f32) {
    const int64_t bad = find_non_finite(spec.count, static_cast<const float*>(data), context());
    if (bad >= 0) fail("ERR_NON_FINITE", bad, "is NaN or infinite");
  }
  const auto check = [&](const auto* values, auto is_good, const std::string& rule) {
    const auto* bad = std::find_if_not(values, values + spec.count, is_good);
    if (bad != values + spec.count) fail("ERR_OPTION", bad - values, "is " + std::to_string(*bad) + ", but " + rule);
  };
  for (size_t c = 0; c < chains_.size(); ++c) {
    const WeightChainSpec& chain = program_.chains[c];
    if (tensor == chain.mask) {
      mask_gradient(c);
      check(
          static_cast<const uint8_t*>(data), [](uint8_t v) { return v <= 1; }, "a mask holds 0 and 1");
    }
    const auto check_indices = [&](int32_t least, const std::string& what) {
      const int64_t k = program_.tensors[chain.centroids].shape.back();
      check(
          static_cast<const int32_t*>(data), [&](int32_t v) { return v >= least && v < k; },
          what + " below the number of centroids, " + std::to_string(k));
    };
    if (tensor == chain.indices) check_indices(0, "an index is");
    if (tensor == chain.zero_index) check_indices(-1, "a zero index is -1 or");
  }
  if (tensors_[tensor].has_small_indices) {
    const int32_t* wide = static_cast<const int32_t*>(data);
    std::transform(wide, wide + spec.count, tensors_[tensor].data, [](int32_t index) { return static_cast<uint8_t>(index); });
  } else {
    std::memcpy(tensors_[tensor].data, data, tensor_bytes(tensor));
  }
  chains_dirty_ = true;
}

const float* Session::gradient(int tensor) {
  if (tensors_[tensor].chain != kNone) mask_gradient(tensors_[tensor].chain);
  return tensors_[tensor].gradient;
}

void Session::set_slot(int tensor, int slot, const float* data) {
  const TensorSpec& spec = program_.tensors[tensor];
  const int64_t bad = find_non_finite(spec.count, data, context());
  if (bad >= 0) {
    throw Error("ERR_NON_FINITE", "Element " + std::to_string(bad) + " of slot " + std::to_string(slot) + " of the tensor '" + spec.name +
                                      "' is NaN or infinite.");
  }
  std::memcpy(tensors_[tensor].slots[slot], data, tensor_bytes(tensor));
}

}  // namespace pcqat
