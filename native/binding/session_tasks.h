// The asynchronous calls of Session and their options.
#pragma once

#include <chrono>
#include <cmath>
#include <limits>
#include <memory>

#include "binding/arguments.h"
#include "binding/async_task.h"
#include "binding/fields.h"
#include "program/session.h"

namespace pcqat::binding {

// Shared by the JavaScript object and the call in flight, so that either may go first.
struct Core {
  std::unique_ptr<Session> session;  // null: disposed
  bool busy = false;                 // only touched on the JavaScript thread
  // Milliseconds that a row took in the last training step, likewise.
  double row_ms = std::numeric_limits<double>::infinity();
};

class StepTask : public AsyncTask {
 public:
  StepTask(std::shared_ptr<Core> core, int64_t rows, const StepOptions& options) : core_(std::move(core)), rows_(rows), options_(options) {
    core_->busy = true;
  }

 protected:
  void execute() override {
    const auto start = std::chrono::steady_clock::now();
    result_ = core_->session->train_step(rows_, options_);
    row_ms_ = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count() / static_cast<double>(rows_);
  }
  void finished() override {
    core_->busy = false;
    core_->row_ms = row_ms_;
  }
  Napi::Value result(Napi::Env env) override {
    Napi::Object object = Napi::Object::New(env);
    object.Set("loss", result_.loss);
    object.Set("correct", static_cast<double>(result_.correct));
    object.Set("gradientNorm", result_.gradient_norm);
    if (!result_.non_finite.empty()) object.Set("nonFinite", result_.non_finite);
    if (result_.violation.chain != kNone) object.Set("violation", violation(env));
    return object;
  }

 private:
  Napi::Object violation(Napi::Env env) const {
    const Program& program = core_->session->program();
    Napi::Object object = Napi::Object::New(env);
    object.Set("tensor", program.tensors[program.chains[result_.violation.chain].weight].name);
    object.Set("kind", result_.violation.zeros ? "zeros" : "clusters");
    object.Set("count", static_cast<double>(result_.violation.count));
    return object;
  }

  const std::shared_ptr<Core> core_;
  const int64_t rows_;
  const StepOptions options_;
  StepResult result_;
  double row_ms_ = std::numeric_limits<double>::infinity();
};

class ForwardTask : public AsyncTask {
 public:
  ForwardTask(std::shared_ptr<Core> core, int64_t rows, const ForwardOptions& options)
      : core_(std::move(core)), rows_(rows), options_(options) {
    core_->busy = true;
  }

 protected:
  void execute() override { core_->session->forward(rows_, options_); }
  void finished() override { core_->busy = false; }
  Napi::Value result(Napi::Env env) override {
    const Session& session = *core_->session;
    const int output = session.program().output;
    return copy_to_array(env, session.value(output), rows_ * session.program().values[output].count);
  }

 private:
  const std::shared_ptr<Core> core_;
  const int64_t rows_;
  const ForwardOptions options_;
};

inline StepOptions parse_step_options(const Napi::Value& value) {
  Fields fields(value, "options");
  StepOptions options;
  options.learning_rate = fields.number("learningRate");
  if (!(options.learning_rate >= 0 && std::isfinite(static_cast<float>(options.learning_rate)))) {
    fields.fail("learningRate", "ERR_OPTION", "must not be negative and fit into f32");
  }
  options.step = fields.integer("step", 1, int64_t{1} << 52);
  options.update = fields.boolean("update", true);
  fields.finish();
  return options;
}

inline ForwardOptions parse_forward_options(const Napi::Value& value) {
  ForwardOptions options;
  if (value.IsUndefined()) return options;
  Fields fields(value, "options");
  if (fields.has("mode")) {
    options.mode = fields.choice<ForwardMode>(
        "mode", {{"inference", ForwardMode::inference}, {"training", ForwardMode::training}, {"observe", ForwardMode::observe}});
  }
  options.reset_ranges = fields.boolean("resetRanges", false);
  options.step = fields.integer("step", 0, int64_t{1} << 52, 0);
  fields.finish();
  return options;
}

}  // namespace pcqat::binding
