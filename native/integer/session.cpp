#include "integer/session.h"

#include <algorithm>
#include <cstring>
#include <system_error>

#include "error.h"

namespace pcqat::integer {

namespace {

constexpr int64_t kAlignment = 64;
// Multiplications below which threads cost more than they save: of one operation, and of a row of the whole program.
constexpr int64_t kWorkWorthSplitting = 1 << 15, kRowWorthSplitting = 1 << 21;

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

int64_t value_bytes(const Tensor& tensor) { return aligned(tensor.elements * size_of(tensor.dtype) + kInt8Overread); }

// 8-bit values outside the executor ↔ inside (uint8 is held as value − 128).
void copy_converted(const Tensor& tensor, const uint8_t* from, uint8_t* to) {
  if (tensor.dtype != DType::uint8) {
    std::memcpy(to, from, tensor.elements * size_of(tensor.dtype));
    return;
  }
  for (int64_t i = 0; i < tensor.elements; ++i) to[i] = from[i] ^ 0x80;
}

}  // namespace

Session::Session(Program program, const Kernels& kernels, int threads, bool keep_values)
    : program_(std::move(program)), keep_values_(keep_values), threads_(threads) {
  validate(program_);
  int64_t constant_bytes = 0;
  for (size_t i = 0; i < program_.operators.size(); ++i) {
    operations_.push_back(make_operation(OperatorView(program_, static_cast<int64_t>(i)), kernels));
    row_work_ += std::min(operations_.back()->work, kMaxProgramWork + 1);
    constant_bytes += operations_.back()->constant_bytes;
    if (row_work_ > kMaxProgramWork) throw Error("ERR_UNSUPPORTED", "The model needs more than 2^38 multiplications for one row.");
    if (constant_bytes > kMaxProgramBytes) throw Error("ERR_UNSUPPORTED", "The model's weights are too large.");
  }
  is_worth_splitting_ = threads_ > 1 && row_work_ >= kRowWorthSplitting;
  for (const auto& operation : operations_) {
    const int64_t most = std::min<int64_t>(threads_, Stages::kMostParts);
    parts_.push_back(operation->work < kWorkWorthSplitting ? 1 : std::clamp<int64_t>(operation->rows, 1, most));
  }
  stages_ = std::make_unique<Stages>(parts_);
  plan();
  workers_.resize(threads_);
}

// First fit: a value takes the lowest free place among those that live at the same time.
void Session::plan() {
  struct Life {
    int64_t tensor, first, last, offset;
  };
  const int64_t operator_count = static_cast<int64_t>(program_.operators.size());
  offsets_.assign(program_.tensors.size(), -1);
  std::vector<int64_t> first(program_.tensors.size(), -1), last(program_.tensors.size(), -1);
  const auto use = [&](int64_t tensor, int64_t when) {
    if (tensor < 0 || program_.tensors[tensor].constant) return;
    if (first[tensor] < 0) first[tensor] = when;
    last[tensor] = keep_values_ ? operator_count + 1 : when;
  };
  use(program_.inputs[0], 0);
  for (int64_t i = 0; i < operator_count; ++i) {
    for (const int64_t input : program_.operators[i].inputs) use(input, i + 1);
    use(program_.operators[i].outputs[0], i + 1);
  }
  use(program_.outputs[0], operator_count + 1);

  std::vector<int64_t> order;
  for (size_t t = 0; t < program_.tensors.size(); ++t) {
    if (first[t] >= 0) order.push_back(static_cast<int64_t>(t));
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return first[a] < first[b]; });
  std::vector<Life> alive;  // by offset
  for (const int64_t t : order) {
    alive.erase(std::remove_if(alive.begin(), alive.end(), [&](const Life& life) { return life.last < first[t]; }), alive.end());
    const int64_t bytes = value_bytes(program_.tensors[t]);
    int64_t offset = 0;
    auto place = alive.begin();
    for (; place != alive.end() && place->offset < offset + bytes; ++place)
      offset = place->offset + value_bytes(program_.tensors[place->tensor]);
    alive.insert(place, {t, first[t], last[t], offset});
    offsets_[t] = offset;
    scratch_offset_ = std::max(scratch_offset_, offset + bytes);
    if (scratch_offset_ > kMaxProgramBytes) break;
  }
  int64_t scratch = 0;
  for (const auto& operation : operations_) scratch = std::max(scratch, operation->scratch_bytes);
  arena_bytes_ = scratch_offset_ + std::min(scratch, kMaxProgramBytes + 1) + kAlignment;
  if (arena_bytes_ > kMaxProgramBytes) {
    throw Error("ERR_UNSUPPORTED", "The model's activations need more than " + std::to_string(kMaxProgramBytes >> 20) + " MiB.");
  }
}

Session::Worker& Session::worker(int index) {
  Worker& worker = workers_[index];
  if (worker.arena.data() != nullptr) return worker;
  worker.arena = AlignedBuffer(arena_bytes_);
  uint8_t* start = worker.arena.data();
  worker.values.assign(program_.tensors.size() + 1, nullptr);
  for (size_t t = 0; t < program_.tensors.size(); ++t) {
    if (offsets_[t] >= 0) worker.values[t] = start + offsets_[t];
  }
  worker.values.back() = start + scratch_offset_;
  return worker;
}

void Session::start_pool() {
  if (pool_ != nullptr) return;
  try {
    pool_ = std::make_unique<ThreadPool>(threads_);
  } catch (const std::system_error& error) {
    throw Error("ERR_OPTION", "Could not start " + std::to_string(threads_) + " threads: " + error.what() + ".");
  }
}

void Session::run(const uint8_t* input, int64_t rows, uint8_t* output) {
  const int64_t in_bytes = this->input().elements * size_of(this->input().dtype);
  const int64_t out_bytes = this->output().elements * size_of(this->output().dtype);
  if (threads_ == 1 || (rows <= 1 && !is_worth_splitting_)) {
    for (int64_t r = 0; r < rows; ++r) run_row(input + r * in_bytes, output + r * out_bytes, worker(0));
  } else if (rows < threads_ && is_worth_splitting_) {
    start_pool();
    for (int i = 0; i < threads_; ++i) worker(i);
    for (int64_t r = 0; r < rows; ++r) run_row_together(input + r * in_bytes, output + r * out_bytes);
  } else {
    start_pool();
    for (int i = 0; i < threads_; ++i) worker(i);  // may throw, so not inside the tasks
    // Consecutive rows as one chunk, so that short rows do not pay for synchronization.
    const int64_t chunk = std::clamp<int64_t>(rows / 64, 1, 64);
    pool_->parallel_for((rows + chunk - 1) / chunk, [&](int64_t c, int index) {
      for (int64_t r = c * chunk; r < std::min(rows, (c + 1) * chunk); ++r) {
        run_row(input + r * in_bytes, output + r * out_bytes, workers_[index]);
      }
    });
  }
  if (keep_values_ && rows > 0) {
    Worker& first = worker(0);
    run_row(input + (rows - 1) * in_bytes, output + (rows - 1) * out_bytes, first);
    last_values_.assign(first.values.back() - scratch_offset_, first.values.back());
  }
}

void Session::run_row(const uint8_t* input, uint8_t* output, Worker& worker) const {
  copy_converted(this->input(), input, worker.values[program_.inputs[0]]);
  const Frame frame{worker.values.data(), worker.values.back()};
  for (const auto& operation : operations_) operation->run(frame);
  copy_converted(this->output(), worker.values[program_.outputs[0]], output);
}

// Every large operation is cut into as many parts as there are threads.
void Session::run_row_together(const uint8_t* input, uint8_t* output) {
  const Worker& first = workers_[0];
  copy_converted(this->input(), input, first.values[program_.inputs[0]]);
  stages_->run(*pool_, [&](int64_t index, int64_t part, int worker) {
    const Operation& operation = *operations_[index];
    const Frame frame{first.values.data(), workers_[worker].values.back()};
    const int64_t rows = operation.rows, parts = parts_[index];
    if (parts == 1)
      operation.run(frame);
    else
      operation.run_rows(frame, rows * part / parts, rows * (part + 1) / parts);
  });
  copy_converted(this->output(), first.values[program_.outputs[0]], output);
}

std::vector<uint8_t> Session::value(int64_t index) const {
  const Tensor& tensor = program_.tensors[index];
  if (tensor.constant) return tensor.data;
  if (offsets_[index] < 0 || last_values_.empty()) return {};
  std::vector<uint8_t> bytes(tensor.elements * size_of(tensor.dtype));
  copy_converted(tensor, last_values_.data() + offsets_[index], bytes.data());
  return bytes;
}

}  // namespace pcqat::integer
