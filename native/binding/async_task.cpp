#include "binding/async_task.h"

#include <chrono>

namespace pcqat::binding {
namespace {

using Clock = std::chrono::steady_clock;

// Handing a task over and back takes 0.03 to 0.05 ms, so longer tasks lose no more than a twentieth.
constexpr double kShortMs = 1.0;
// How long events may wait beside a task.
constexpr double kTurnMs = 5.0;

// When the event loop of this JavaScript thread was last seen at work, and the tasks that it has handed over.
thread_local Clock::time_point last_turn;
thread_local int handed_over = 0;

// Whether JavaScript can still run: setting a property is refused once the environment is being torn down.
bool can_run_javascript(napi_env env) {
  napi_value object, value;
  return napi_create_object(env, &object) == napi_ok && napi_get_boolean(env, true, &value) == napi_ok &&
         napi_set_named_property(env, object, "x", value) == napi_ok;
}

}  // namespace

Napi::Value AsyncTask::start(Napi::Env env, std::unique_ptr<AsyncTask> task) {
  napi_value promise, name;
  if (napi_create_promise(env, &task->deferred_, &promise) != napi_ok ||
      napi_create_string_utf8(env, "pcqat", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, nullptr, name, on_execute, on_complete, task.get(), &task->work_) != napi_ok ||
      napi_queue_async_work(env, task->work_) != napi_ok) {
    task->finished();
    throw Error("ERR_INTERNAL", "The call could not be queued.");
  }
  task.release();  // on_complete takes it back
  ++handed_over;
  return Napi::Value(env, promise);
}

Napi::Value AsyncTask::run_now(Napi::Env env, std::unique_ptr<AsyncTask> task) {
  napi_value promise;
  if (napi_create_promise(env, &task->deferred_, &promise) != napi_ok) {
    task->finished();
    throw Error("ERR_INTERNAL", "The call could not be made.");
  }
  on_execute(env, task.get());
  task->finished();
  task->settle(env, napi_ok);
  return Napi::Value(env, promise);
}

Napi::Value AsyncTask::start_or_run_now(Napi::Env env, std::unique_ptr<AsyncTask> task, double expected_ms) {
  const double since_turn = std::chrono::duration<double, std::milli>(Clock::now() - last_turn).count();
  return expected_ms <= kShortMs && since_turn <= kTurnMs && handed_over == 0 ? run_now(env, std::move(task)) : start(env, std::move(task));
}

void AsyncTask::on_execute(napi_env, void* data) {
  AsyncTask* task = static_cast<AsyncTask*>(data);
  try {
    task->execute();
  } catch (const Error& error) {
    task->error_code_ = error.code();
    task->error_message_ = error.what();
  } catch (const std::exception& error) {
    task->error_code_ = "ERR_INTERNAL";
    task->error_message_ = error.what();
  }
}

void AsyncTask::on_complete(napi_env env, napi_status status, void* data) {
  const std::unique_ptr<AsyncTask> task(static_cast<AsyncTask*>(data));
  last_turn = Clock::now();
  --handed_over;
  task->finished();
  napi_delete_async_work(env, task->work_);
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  if (can_run_javascript(env)) task->settle(env, status);
  napi_close_handle_scope(env, scope);
}

void AsyncTask::settle(Napi::Env env, napi_status status) {
  if (status == napi_cancelled && error_code_.empty()) {
    error_code_ = "ERR_INTERNAL";
    error_message_ = "The call was cancelled.";
  }
  try {
    if (error_code_.empty())
      napi_resolve_deferred(env, deferred_, result(env));
    else
      napi_reject_deferred(env, deferred_, make_error(env, error_code_, error_message_).Value());
  } catch (const Napi::Error& error) {  // e.g. no memory for the result
    napi_reject_deferred(env, deferred_, error.Value());
  }
}

}  // namespace pcqat::binding
