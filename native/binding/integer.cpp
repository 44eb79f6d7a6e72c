// IntegerSession of binding.d.ts.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <thread>

#include "binding/binding.h"
#include "integer/session.h"

namespace pcqat::binding {

namespace {

using integer::DType;

// ---------------------------------------------------------------- JavaScript → Program

[[noreturn]] void bad_type(Napi::Env env, const std::string& what) { throw make_error(env, "ERR_DTYPE", what + "."); }

Napi::Array array_property(const Napi::Object& object, const char* name, const std::string& where) {
  const Napi::Value value = object.Get(name);
  if (!value.IsArray()) bad_type(object.Env(), where + ": " + name + " must be an array");
  return value.As<Napi::Array>();
}

Napi::Object object_at(const Napi::Array& array, uint32_t i, const std::string& where) {
  const Napi::Value value = array.Get(i);
  if (!value.IsObject()) bad_type(array.Env(), where + " must be an object");
  return value.As<Napi::Object>();
}

std::string string_property(const Napi::Object& object, const char* name, const std::string& where) {
  const Napi::Value value = object.Get(name);
  if (!value.IsString()) bad_type(object.Env(), where + ": " + name + " must be a string");
  return value.As<Napi::String>();
}

int64_t integer_of(const Napi::Value& value, const std::string& where) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(std::fabs(number) <= 9007199254740991.0) || number != std::floor(number)) bad_type(value.Env(), where + " must be an integer");
  return static_cast<int64_t>(number);
}

std::vector<int64_t> integers_property(const Napi::Object& object, const char* name, const std::string& where) {
  const Napi::Array array = array_property(object, name, where);
  std::vector<int64_t> values(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) values[i] = integer_of(array.Get(i), where + ": " + name);
  return values;
}

// A typed array of one element type, as a copy.
template <typename T>
std::vector<T> elements_property(const Napi::Object& object, const char* name, napi_typedarray_type type, const std::string& where) {
  const Napi::Value value = object.Get(name);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    bad_type(object.Env(), where + ": " + name + " is not a typed array of the right type");
  }
  const auto array = value.As<Napi::TypedArrayOf<T>>();
  return std::vector<T>(array.Data(), array.Data() + array.ElementLength());
}

DType dtype_of(const Napi::Object& object, const std::string& where) {
  const std::string name = string_property(object, "dtype", where);
  for (const DType type : {DType::int8, DType::uint8, DType::int16, DType::int32, DType::float32}) {
    if (name == name_of(type)) return type;
  }
  bad_type(object.Env(), where + ": dtype '" + name + "' is unknown");
}

integer::Tensor read_tensor(const Napi::Object& object, const std::string& where) {
  integer::Tensor tensor;
  tensor.name = string_property(object, "name", where);
  tensor.shape = integers_property(object, "shape", where);
  tensor.dtype = dtype_of(object, where);
  tensor.scale = elements_property<float>(object, "scale", napi_float32_array, where);
  tensor.zero_point = elements_property<int32_t>(object, "zeroPoint", napi_int32_array, where);
  tensor.axis = integer_of(object.Get("axis"), where + ": axis");
  tensor.constant = !object.Get("data").IsUndefined();
  if (tensor.constant) tensor.data = elements_property<uint8_t>(object, "data", napi_uint8_array, where);
  return tensor;
}

integer::Operator read_operator(const Napi::Object& object, const std::string& where) {
  integer::Operator op;
  op.op = string_property(object, "op", where);
  op.inputs = integers_property(object, "inputs", where);
  op.outputs = integers_property(object, "outputs", where);
  const Napi::Value options = object.Get("options");
  if (!options.IsObject()) bad_type(object.Env(), where + ": options must be an object");
  const Napi::Array names = options.As<Napi::Object>().GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).ToString();
    const Napi::Value value = options.As<Napi::Object>().Get(name);
    if (value.IsNumber()) op.options[name] = value.As<Napi::Number>().DoubleValue();
    else if (value.IsBoolean()) op.options[name] = value.As<Napi::Boolean>().Value();
    else if (value.IsString()) op.options[name] = std::string(value.As<Napi::String>());
    // Lists (RESHAPE's newShape) repeat what the output's shape says.
  }
  return op;
}

integer::Program read_program(const Napi::Env& env, const Napi::Value& value) {
  if (!value.IsObject()) bad_type(env, "IntegerSession takes a program");
  const Napi::Object object = value.As<Napi::Object>();
  integer::Program program;
  const Napi::Array tensors = array_property(object, "tensors", "program");
  for (uint32_t i = 0; i < tensors.Length(); ++i) {
    const std::string where = "tensor " + std::to_string(i);
    program.tensors.push_back(read_tensor(object_at(tensors, i, where), where));
  }
  const Napi::Array operators = array_property(object, "operators", "program");
  for (uint32_t i = 0; i < operators.Length(); ++i) {
    const std::string where = "operator " + std::to_string(i);
    program.operators.push_back(read_operator(object_at(operators, i, where), where));
  }
  program.inputs = integers_property(object, "inputs", "program");
  program.outputs = integers_property(object, "outputs", "program");
  return program;
}

// ---------------------------------------------------------------- values → JavaScript

Napi::Value typed_array(Napi::Env env, const std::vector<uint8_t>& bytes, DType type) {
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, bytes.size());
  if (!bytes.empty()) std::memcpy(buffer.Data(), bytes.data(), bytes.size());
  const size_t count = bytes.size() / integer::size_of(type);
  switch (type) {
    case DType::int8: return Napi::Int8Array::New(env, count, buffer, 0);
    case DType::uint8: return Napi::Uint8Array::New(env, count, buffer, 0);
    case DType::int16: return Napi::Int16Array::New(env, count, buffer, 0);
    case DType::int32: return Napi::Int32Array::New(env, count, buffer, 0);
    default: return Napi::Float32Array::New(env, count, buffer, 0);
  }
}

bool matches(napi_typedarray_type actual, DType type) {
  return (type == DType::int8 && actual == napi_int8_array) || (type == DType::uint8 && actual == napi_uint8_array) ||
         (type == DType::float32 && actual == napi_float32_array);
}

// ---------------------------------------------------------------- the class

// What a run shares with the object that started it; it lives until both are done with it.
struct SessionState {
  std::unique_ptr<integer::Session> session;
  bool busy = false;  // touched by the JavaScript thread only
};

class RunWorker final : public Napi::AsyncWorker {
 public:
  RunWorker(Napi::Env env, std::shared_ptr<SessionState> state, std::vector<uint8_t> input, int64_t rows)
      : Napi::AsyncWorker(env, "pcqat.IntegerSession.run"),
        deferred_(Napi::Promise::Deferred::New(env)),
        state_(std::move(state)),
        input_(std::move(input)),
        rows_(rows),
        type_(state_->session->output().dtype) {
    output_.resize(rows * state_->session->output().elements * integer::size_of(type_));
    state_->busy = true;
  }

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    try {
      state_->session->run(input_.data(), rows_, output_.data());
    } catch (const std::bad_alloc&) {
      SetError("Not enough memory.");
    }
  }

  void OnOK() override {
    state_->busy = false;
    deferred_.Resolve(typed_array(Env(), output_, type_));
  }

  void OnError(const Napi::Error& error) override {
    state_->busy = false;
    deferred_.Reject(make_error(Env(), "ERR_OUT_OF_MEMORY", error.Message()).Value());
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<SessionState> state_;
  std::vector<uint8_t> input_, output_;
  const int64_t rows_;
  const DType type_;
};

class IntegerSession final : public Napi::ObjectWrap<IntegerSession> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "IntegerSession",
                       {InstanceMethod<&IntegerSession::run>("run"), InstanceMethod<&IntegerSession::get_value>("getValue"),
                        InstanceMethod<&IntegerSession::dispose>("dispose")});
  }

  explicit IntegerSession(const Napi::CallbackInfo& info) : Napi::ObjectWrap<IntegerSession>(info), state_(std::make_shared<SessionState>()) {
    const Napi::Env env = info.Env();
    guarded(env, [&] {
      integer::Program program = read_program(env, info[0]);
      int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
      bool keep_values = false;
      Napi::Value isa = env.Undefined();
      if (!info[1].IsUndefined()) {
        if (!info[1].IsObject()) bad_type(env, "The options of IntegerSession must be an object");
        const Napi::Object options = info[1].As<Napi::Object>();
        isa = options.Get("isa");
        const Napi::Value thread_option = options.Get("threads");
        if (!thread_option.IsUndefined()) {
          const int64_t count = integer_of(thread_option, "threads");
          if (count < 1 || count > kMaxThreads) throw Error("ERR_OPTION", "threads must be from 1 to " + std::to_string(kMaxThreads) + ".");
          threads = static_cast<int>(count);
        }
        keep_values = options.Get("keepValues").ToBoolean();
      }
      state_->session = std::make_unique<integer::Session>(std::move(program), kernels_argument(env, isa), threads, keep_values);
    });
  }

 private:
  static constexpr int64_t kMaxThreads = 1024;

  integer::Session& ready(Napi::Env env) const {
    if (state_->session == nullptr) throw make_error(env, "ERR_DISPOSED", "This IntegerSession was disposed.");
    if (state_->busy) throw make_error(env, "ERR_SESSION_BUSY", "This IntegerSession is still running; wait for its promise.");
    return *state_->session;
  }

  Napi::Value run(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const integer::Session& session = ready(env);
      const integer::Tensor& input = session.input();
      if (!info[0].IsTypedArray() || !matches(info[0].As<Napi::TypedArray>().TypedArrayType(), input.dtype)) {
        bad_type(env, std::string("The input must be a typed array of ") + name_of(input.dtype));
      }
      const Napi::TypedArray array = info[0].As<Napi::TypedArray>();
      const int64_t length = static_cast<int64_t>(array.ElementLength());
      if (length == 0 || length % input.elements != 0) {
        throw Error("ERR_SHAPE", "The input has " + std::to_string(length) + " values, which is not a positive multiple of the " +
                                     std::to_string(input.elements) + " of one row.");
      }
      const uint8_t* start = static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
      auto* worker = new RunWorker(env, state_, std::vector<uint8_t>(start, start + array.ByteLength()), length / input.elements);
      const Napi::Promise promise = worker->promise();
      worker->Queue();
      return promise;
    });
  }

  Napi::Value get_value(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const integer::Session& session = ready(env);
      const int64_t index = integer_of(info[0], "tensor");
      if (index < 0 || index >= session.tensor_count()) throw Error("ERR_OPTION", "There is no tensor " + std::to_string(index) + ".");
      const std::vector<uint8_t> bytes = session.value(index);
      if (bytes.empty()) {
        throw Error("ERR_OPTION", "Tensor '" + session.tensor(index).name + "' has no kept value; set keepValues and run first.");
      }
      return typed_array(env, bytes, session.tensor(index).dtype);
    });
  }

  Napi::Value dispose(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (state_->busy) throw make_error(env, "ERR_SESSION_BUSY", "This IntegerSession is still running; wait for its promise.");
    state_->session.reset();
    return env.Undefined();
  }

  std::shared_ptr<SessionState> state_;
};

}  // namespace

void export_integer(Napi::Env env, Napi::Object exports) { exports.Set("IntegerSession", IntegerSession::define(env)); }

}  // namespace pcqat::binding
