// One native call off the JavaScript thread, as a Promise.
#pragma once

#include <memory>
#include <string>

#include "binding/binding.h"

namespace pcqat::binding {

// Written against the C interface where it settles: when a worker thread is terminated or the process exits during the
// call, JavaScript can no longer run, every Node-API call fails, and the task must end quietly.
class AsyncTask {
 public:
  virtual ~AsyncTask() = default;

  // Starts the task and returns its Promise, which is rejected with the PcqatError of an Error thrown by execute().
  static Napi::Value start(Napi::Env env, std::unique_ptr<AsyncTask> task);
  // The same on the JavaScript thread, before it returns: for tasks that take less time than handing them over does.
  static Napi::Value run_now(Napi::Env env, std::unique_ptr<AsyncTask> task);
  // One of the two, for tasks that come one after another: short ones run now, but every few milliseconds one is started, so that other
  // events have their turn between them; and all are while this thread waits for others, which then run at the same time.
  static Napi::Value start_or_run_now(Napi::Env env, std::unique_ptr<AsyncTask> task, double expected_ms);

 protected:
  // On a worker thread, unless run now; no JavaScript. May throw Error.
  virtual void execute() = 0;
  // On the JavaScript thread, always, before the Promise is settled.
  virtual void finished() = 0;
  // The value of the Promise.
  virtual Napi::Value result(Napi::Env env) = 0;

 private:
  static void on_execute(napi_env env, void* data);
  static void on_complete(napi_env env, napi_status status, void* data);
  void settle(Napi::Env env, napi_status status);

  napi_async_work work_ = nullptr;
  napi_deferred deferred_ = nullptr;
  std::string error_code_, error_message_;  // code empty: no error
};

// A Promise rejected with the error that `body` throws, or what body returns.
template <typename Body>
Napi::Value promised(Napi::Env env, Body&& body) {
  try {
    return guarded(env, std::forward<Body>(body));
  } catch (const Napi::Error& error) {
    const Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(error.Value());
    return deferred.Promise();
  }
}

}  // namespace pcqat::binding
