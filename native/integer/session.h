// An integer program ready to run on any number of rows.
#pragma once

#include <memory>
#include <vector>

#include "integer/operation.h"
#include "parallel/stages.h"
#include "program/aligned_buffer.h"

namespace pcqat::integer {

class Session {
 public:
  // Checks the whole program. Throws ERR_FORMAT, ERR_UNSUPPORTED or ERR_OUT_OF_MEMORY.
  Session(Program program, const Kernels& kernels, int threads, bool keep_values);

  const Tensor& input() const { return program_.tensors[program_.inputs[0]]; }
  const Tensor& output() const { return program_.tensors[program_.outputs[0]]; }
  int64_t tensor_count() const { return static_cast<int64_t>(program_.tensors.size()); }
  const Tensor& tensor(int64_t index) const { return program_.tensors[index]; }

  // Multiplications of one row.
  int64_t row_work() const { return row_work_; }

  // `rows` rows of the input tensor's values, as many of the output's. Rows are independent, so results do not depend on
  // the number of threads.
  void run(const uint8_t* input, int64_t rows, uint8_t* output);

  // The bytes of a tensor: constants as they are, activations of the last row of the last run (needs keep_values).
  std::vector<uint8_t> value(int64_t tensor) const;

 private:
  struct Worker {
    std::vector<uint8_t*> values;
    AlignedBuffer arena;
  };

  void plan();
  void start_pool();
  Worker& worker(int index);
  void run_row(const uint8_t* input, uint8_t* output, Worker& worker) const;
  void run_row_together(const uint8_t* input, uint8_t* output);

  Program program_;
  const bool keep_values_;
  std::vector<std::unique_ptr<Operation>> operations_;
  std::vector<int64_t> offsets_;  // of each tensor's value in a worker's arena, −1 for constants and unused tensors
  int64_t scratch_offset_ = 0, arena_bytes_ = 0;
  std::vector<Worker> workers_;
  std::vector<uint8_t> last_values_;  // arena after the last row, when values are kept
  const int threads_;
  int64_t row_work_ = 0;
  bool is_worth_splitting_ = false;   // one row alone is worth all threads
  std::vector<int64_t> parts_;        // of every operation, if so
  std::unique_ptr<Stages> stages_;    // of these parts
  std::unique_ptr<ThreadPool> pool_;  // made for the first run of several rows
};

}  // namespace pcqat::integer
