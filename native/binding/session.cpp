// The class Session of binding.d.ts.
#include <cmath>
#include <memory>
#include <system_error>

#include "binding/arguments.h"
#include "binding/program_parser.h"
#include "binding/session_tasks.h"

namespace pcqat::binding {
namespace {

class SessionWrap : public Napi::ObjectWrap<SessionWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Session",
                       {InstanceAccessor<&SessionWrap::arena_bytes>("arenaBytes"), InstanceAccessor<&SessionWrap::threads>("threads"),
                        InstanceAccessor<&SessionWrap::isa>("isa"), InstanceMethod<&SessionWrap::set_tensor>("setTensor"),
                        InstanceMethod<&SessionWrap::get_tensor>("getTensor"), InstanceMethod<&SessionWrap::get_gradient>("getGradient"),
                        InstanceMethod<&SessionWrap::get_slot>("getSlot"), InstanceMethod<&SessionWrap::set_slot>("setSlot"),
                        InstanceMethod<&SessionWrap::get_used_weight>("getUsedWeight"), InstanceMethod<&SessionWrap::get_value>("getValue"),
                        InstanceMethod<&SessionWrap::train_step>("trainStep"), InstanceMethod<&SessionWrap::forward>("forward"),
                        InstanceMethod<&SessionWrap::dispose>("dispose")});
  }

  explicit SessionWrap(const Napi::CallbackInfo& info) : ObjectWrap(info), core_(std::make_shared<Core>()) {
    guarded(info.Env(), [&] {
      Program program = parse_program(info[0]);
      Fields fields(info[1], "options");
      const SessionOptions options = parse_session_options(fields);
      const Kernels& kernels = kernels_argument(info.Env(), fields.has("isa") ? fields.get("isa") : info.Env().Undefined());
      fields.finish();
      try {
        core_->session = std::make_unique<Session>(std::move(program), options, kernels);
      } catch (const std::system_error& error) {
        throw Error("ERR_OPTION", "Could not start " + std::to_string(options.threads) + " threads: " + error.what() + ".");
      }
      arena_bytes_ = core_->session->arena_bytes();
      threads_ = options.threads;
      isa_ = kernels.isa;
    });
    account(info.Env(), static_cast<int64_t>(core_->session->memory_bytes()));
  }

  void Finalize(Napi::Env env) override { account(env, -accounted_); }

 private:
  // Tells the garbage collector how much memory hangs on this object.
  void account(napi_env env, int64_t bytes) {
    int64_t total;
    napi_adjust_external_memory(env, bytes, &total);
    accounted_ += bytes;
  }

  Session& idle() const {
    if (core_->session == nullptr) throw Error("ERR_DISPOSED", "The session is disposed.");
    if (core_->busy) throw Error("ERR_SESSION_BUSY", "The session is busy. Await the call in progress first.");
    return *core_->session;
  }

  static int index_argument(const Napi::Value& value, const char* what, size_t count) {
    const double index = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
    if (!(index >= 0 && index < static_cast<double>(count) && index == std::floor(index))) {
      throw Error("ERR_OPTION", std::string(what) + " must be an index below " + std::to_string(count) + ".");
    }
    return static_cast<int>(index);
  }
  static int tensor_argument(const Session& session, const Napi::Value& value) {
    return index_argument(value, "tensor", session.program().tensors.size());
  }

  Napi::Value arena_bytes(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), static_cast<double>(arena_bytes_)); }
  Napi::Value threads(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), threads_); }
  Napi::Value isa(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), isa_); }

  Napi::Value set_tensor(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      Session& session = idle();
      const int tensor = tensor_argument(session, info[0]);
      const TensorSpec& spec = session.program().tensors[tensor];
      const std::string what = "The data of tensor '" + spec.name + "'";
      const void* data = spec.dtype == DType::f32  ? static_cast<const void*>(array_argument<float>(info[1], what, spec.count).data)
                         : spec.dtype == DType::u8 ? static_cast<const void*>(array_argument<uint8_t>(info[1], what, spec.count).data)
                                                   : static_cast<const void*>(array_argument<int32_t>(info[1], what, spec.count).data);
      session.set_tensor(tensor, data);
      return info.Env().Undefined();
    });
  }

  Napi::Value get_tensor(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const Session& session = idle();
      const int tensor = tensor_argument(session, info[0]);
      const TensorSpec& spec = session.program().tensors[tensor];
      const auto read = [&](auto array) {
        session.get_tensor(tensor, array.Data());
        return array;
      };
      const size_t count = static_cast<size_t>(spec.count);
      if (spec.dtype == DType::f32) return read(Napi::Float32Array::New(info.Env(), count));
      if (spec.dtype == DType::u8) return read(Napi::Uint8Array::New(info.Env(), count));
      return read(Napi::Int32Array::New(info.Env(), count));
    });
  }

  Napi::Value get_gradient(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      Session& session = idle();
      const int tensor = tensor_argument(session, info[0]);
      const TensorSpec& spec = session.program().tensors[tensor];
      if (!session.has_gradient(tensor)) {
        throw Error("ERR_OPTION",
                    "The tensor '" + spec.name + "' has no gradient: it must be trainable and the session a training session.");
      }
      return copy_to_array(info.Env(), session.gradient(tensor), spec.count);
    });
  }

  // Tensor and slot of getSlot and setSlot.
  static std::pair<int, int> slot_arguments(const Session& session, const Napi::CallbackInfo& info) {
    const int tensor = tensor_argument(session, info[0]);
    const TensorSpec& spec = session.program().tensors[tensor];
    if (session.slot_count() == 0 || !spec.trainable) {
      throw Error("ERR_OPTION",
                  "The tensor '" + spec.name + "' has no optimizer slots: it must be trainable and the session must have an optimizer.");
    }
    return {tensor, index_argument(info[1], "slot", static_cast<size_t>(session.slot_count()))};
  }

  Napi::Value get_slot(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const Session& session = idle();
      const auto [tensor, slot] = slot_arguments(session, info);
      return copy_to_array(info.Env(), session.slot(tensor, slot), session.program().tensors[tensor].count);
    });
  }

  Napi::Value set_slot(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      Session& session = idle();
      const auto [tensor, slot] = slot_arguments(session, info);
      const TensorSpec& spec = session.program().tensors[tensor];
      session.set_slot(tensor, slot, array_argument<float>(info[2], "The slot of tensor '" + spec.name + "'", spec.count).data);
      return info.Env().Undefined();
    });
  }

  Napi::Value get_used_weight(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const Session& session = idle();
      const int chain = index_argument(info[0], "chain", session.program().chains.size());
      return copy_to_array(info.Env(), session.used_weight(chain), session.program().tensors[session.program().chains[chain].weight].count);
    });
  }

  Napi::Value get_value(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const Session& session = idle();
      const int value = index_argument(info[0], "value", session.program().values.size());
      if (!session.keeps(value)) throw Error("ERR_OPTION", "getValue of anything but the output needs a session with keepValues.");
      return copy_to_array(info.Env(), session.value(value), session.rows() * session.program().values[value].count);
    });
  }

  // Copies x into the session and returns the number of rows.
  static int64_t take_input(Session& session, const Napi::Value& value) {
    const auto x = array_argument<float>(value, "x");
    const int64_t width = session.program().values[session.program().input].count;
    if (x.length == 0) throw Error("ERR_EMPTY_DATA", "x is empty.");
    if (x.length % width != 0) {
      throw Error("ERR_SHAPE",
                  "x has " + std::to_string(x.length) + " elements, which is no multiple of the input size " + std::to_string(width) + ".");
    }
    const int64_t rows = x.length / width;
    if (rows > session.options().max_batch) {
      throw Error("ERR_SHAPE",
                  "x has " + std::to_string(rows) + " rows, but maxBatch is " + std::to_string(session.options().max_batch) + ".");
    }
    std::memcpy(session.input_buffer(), x.data, static_cast<size_t>(x.length) * sizeof(float));
    return rows;
  }

  static void take_target(Session& session, const Napi::Value& value, int64_t rows) {
    const LossSpec& loss = session.program().loss;
    const int64_t length = rows * session.target_width();
    if (loss.kind == LossKind::softmax_cross_entropy && !loss.dense_labels) {
      std::memcpy(session.label_buffer(), array_argument<int32_t>(value, "y", length).data, static_cast<size_t>(length) * sizeof(int32_t));
    } else {
      std::memcpy(session.target_buffer(), array_argument<float>(value, "y", length).data, static_cast<size_t>(length) * sizeof(float));
    }
  }

  Napi::Value train_step(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      Session& session = idle();
      const StepOptions options = parse_step_options(info[2]);
      session.check_trainable(options.update);
      const int64_t rows = take_input(session, info[0]);
      take_target(session, info[1], rows);
      return AsyncTask::start_or_run_now(info.Env(), std::make_unique<StepTask>(core_, rows, options),
                                         static_cast<double>(rows) * core_->row_ms);
    });
  }

  Napi::Value forward(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      Session& session = idle();
      const ForwardOptions options = parse_forward_options(info[1]);
      if (options.mode == ForwardMode::training && !session.options().training) {
        throw Error("ERR_OPTION", "forward in training mode needs a session with training: true.");
      }
      const int64_t rows = take_input(session, info[0]);
      return AsyncTask::start(info.Env(), std::make_unique<ForwardTask>(core_, rows, options));
    });
  }

  Napi::Value dispose(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      if (core_->busy) throw Error("ERR_SESSION_BUSY", "The session is busy. Await the call in progress before dispose.");
      core_->session.reset();
      account(info.Env(), -accounted_);
      return info.Env().Undefined();
    });
  }

  const std::shared_ptr<Core> core_;
  size_t arena_bytes_ = 0;
  int threads_ = 0;
  std::string isa_;
  int64_t accounted_ = 0;
};

}  // namespace

void export_session(Napi::Env env, Napi::Object exports) { exports.Set("Session", SessionWrap::define(env)); }

}  // namespace pcqat::binding
