// IntegerSession of binding.d.ts.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <thread>

#include "binding/arguments.h"
#include "binding/async_task.h"
#include "binding/fields.h"
#include "integer/session.h"

namespace pcqat::binding {

namespace {

using integer::DType;

// ---------------------------------------------------------------- JavaScript → Program

constexpr size_t kMaxTensors = 1 << 20;
constexpr size_t kMaxDimensions = 64;

template <typename T>
std::vector<T> elements(Fields& fields, const char* name) {
  const ArrayView<T> view = array_argument<T>(fields.get(name), fields.path(name));
  return std::vector<T>(view.data, view.data + view.length);
}

integer::Tensor read_tensor(const Napi::Value& value, const std::string& path) {
  Fields fields(value, path);
  integer::Tensor tensor;
  tensor.name = fields.string("name");
  tensor.shape = fields.integers("shape", kMaxDimensions);
  tensor.dtype = fields.choice<DType>(
      "dtype",
      {{"int8", DType::int8}, {"uint8", DType::uint8}, {"int16", DType::int16}, {"int32", DType::int32}, {"float32", DType::float32}});
  tensor.scale = elements<float>(fields, "scale");
  tensor.zero_point = elements<int32_t>(fields, "zeroPoint");
  tensor.axis = fields.integer("axis");
  tensor.constant = fields.has("data");
  if (tensor.constant) tensor.data = elements<uint8_t>(fields, "data");
  return tensor;
}

integer::Operator read_operator(const Napi::Value& value, const std::string& path) {
  Fields fields(value, path);
  integer::Operator op;
  op.op = fields.string("op");
  op.inputs = fields.integers("inputs", kMaxTensors);
  op.outputs = fields.integers("outputs", kMaxTensors);
  const Napi::Value options = fields.get("options");
  if (!options.IsObject()) fields.fail("options", "ERR_DTYPE", "must be an object");
  const Napi::Array names = options.As<Napi::Object>().GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).ToString();
    const Napi::Value option = options.As<Napi::Object>().Get(name);
    if (option.IsNumber())
      op.options[name] = option.As<Napi::Number>().DoubleValue();
    else if (option.IsBoolean())
      op.options[name] = option.As<Napi::Boolean>().Value();
    else if (option.IsString())
      op.options[name] = std::string(option.As<Napi::String>());
    // Lists (RESHAPE's newShape) repeat what the output's shape says.
  }
  return op;
}

integer::Program read_program(const Napi::Value& value) {
  Fields fields(value, "program");
  integer::Program program;
  fields.list("tensors", kMaxTensors,
              [&](const Napi::Value& tensor, const std::string& path) { program.tensors.push_back(read_tensor(tensor, path)); });
  fields.list("operators", kMaxTensors,
              [&](const Napi::Value& op, const std::string& path) { program.operators.push_back(read_operator(op, path)); });
  program.inputs = fields.integers("inputs", kMaxTensors);
  program.outputs = fields.integers("outputs", kMaxTensors);
  return program;
}

// ---------------------------------------------------------------- values

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

int64_t row_bytes(const integer::Tensor& tensor) { return tensor.elements * integer::size_of(tensor.dtype); }

// Whole rows of the input tensor, as a copy.
std::vector<uint8_t> read_rows(const Napi::Value& value, const integer::Tensor& input) {
  const auto matches = [&](napi_typedarray_type type) {
    return (input.dtype == DType::int8 && type == napi_int8_array) || (input.dtype == DType::uint8 && type == napi_uint8_array) ||
           (input.dtype == DType::float32 && type == napi_float32_array);
  };
  if (!value.IsTypedArray() || !matches(value.As<Napi::TypedArray>().TypedArrayType())) {
    throw Error("ERR_DTYPE", std::string("The input must be a typed array of ") + name_of(input.dtype) + ".");
  }
  const Napi::TypedArray array = value.As<Napi::TypedArray>();
  const int64_t length = static_cast<int64_t>(array.ElementLength());
  if (length == 0 || length % input.elements != 0) {
    throw Error("ERR_SHAPE", "The input has " + std::to_string(length) + " values, which is not a positive multiple of the " +
                                 std::to_string(input.elements) + " of one row.");
  }
  const uint8_t* start = static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  return std::vector<uint8_t>(start, start + array.ByteLength());
}

// ---------------------------------------------------------------- the class

// Shared by the JavaScript object and the call in flight, so that either may go first.
struct IntegerCore {
  std::unique_ptr<integer::Session> session;  // null: disposed
  bool busy = false;                          // only touched on the JavaScript thread
  // Milliseconds of a row in the fastest call so far, likewise.
  double row_ms = std::numeric_limits<double>::infinity();
};

class RunTask final : public AsyncTask {
 public:
  RunTask(std::shared_ptr<IntegerCore> core, std::vector<uint8_t> input, int64_t rows)
      : core_(std::move(core)), input_(std::move(input)), rows_(rows) {
    core_->busy = true;
  }

 protected:
  void execute() override {
    integer::Session& session = *core_->session;
    try {
      output_.resize(rows_ * row_bytes(session.output()));
      const auto start = std::chrono::steady_clock::now();
      session.run(input_.data(), rows_, output_.data());
      row_ms_ = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count() / static_cast<double>(rows_);
    } catch (const std::bad_alloc&) {
      throw Error("ERR_OUT_OF_MEMORY", "Not enough memory for the outputs of " + std::to_string(rows_) + " rows.");
    }
  }
  void finished() override {
    core_->busy = false;
    core_->row_ms = std::min(core_->row_ms, row_ms_);
  }
  Napi::Value result(Napi::Env env) override { return typed_array(env, output_, core_->session->output().dtype); }

 private:
  const std::shared_ptr<IntegerCore> core_;
  const std::vector<uint8_t> input_;
  const int64_t rows_;
  std::vector<uint8_t> output_;
  double row_ms_ = std::numeric_limits<double>::infinity();
};

class IntegerSession final : public Napi::ObjectWrap<IntegerSession> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "IntegerSession",
                       {InstanceMethod<&IntegerSession::run>("run"), InstanceMethod<&IntegerSession::get_value>("getValue"),
                        InstanceMethod<&IntegerSession::dispose>("dispose")});
  }

  explicit IntegerSession(const Napi::CallbackInfo& info) : Napi::ObjectWrap<IntegerSession>(info), core_(std::make_shared<IntegerCore>()) {
    const Napi::Env env = info.Env();
    guarded(env, [&] {
      integer::Program program = read_program(info[0]);
      int64_t threads = std::max(1u, std::thread::hardware_concurrency());
      bool keep_values = false;
      Napi::Value isa = env.Undefined();
      if (!info[1].IsUndefined()) {
        Fields options(info[1], "options");
        threads = options.integer("threads", 1, kMaxThreads, threads);
        keep_values = options.boolean("keepValues", false);
        if (options.has("isa")) isa = options.get("isa");
        options.finish();
      }
      core_->session =
          std::make_unique<integer::Session>(std::move(program), kernels_argument(env, isa), static_cast<int>(threads), keep_values);
    });
  }

 private:
  static constexpr int64_t kMaxThreads = 1024;
  // Longer calls go to another thread, which costs a tenth of that.
  static constexpr double kShortMs = 0.1;
  // Multiplications that take about as long, for the first call.
  static constexpr int64_t kShortWork = int64_t{1} << 25;

  void require_idle() const {
    if (core_->busy) throw Error("ERR_SESSION_BUSY", "This IntegerSession is still running; wait for its promise.");
  }

  integer::Session& ready() const {
    if (core_->session == nullptr) throw Error("ERR_DISPOSED", "This IntegerSession was disposed.");
    require_idle();
    return *core_->session;
  }

  Napi::Value run(const Napi::CallbackInfo& info) {
    return promised(info.Env(), [&] {
      const integer::Session& session = ready();
      std::vector<uint8_t> input = read_rows(info[0], session.input());
      const int64_t rows = static_cast<int64_t>(input.size()) / row_bytes(session.input());
      const bool is_short =
          rows * (session.row_work() + session.input().elements) <= kShortWork || static_cast<double>(rows) * core_->row_ms <= kShortMs;
      auto task = std::make_unique<RunTask>(core_, std::move(input), rows);
      return is_short ? AsyncTask::run_now(info.Env(), std::move(task)) : AsyncTask::start(info.Env(), std::move(task));
    });
  }

  Napi::Value get_value(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const integer::Session& session = ready();
      const double index = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
      if (!(index >= 0 && index < static_cast<double>(session.tensor_count())) ||
          index != static_cast<double>(static_cast<int64_t>(index))) {
        throw Error("ERR_OPTION", "There is no such tensor; indices are 0 to " + std::to_string(session.tensor_count() - 1) + ".");
      }
      const int64_t tensor = static_cast<int64_t>(index);
      const std::vector<uint8_t> bytes = session.value(tensor);
      if (bytes.empty()) {
        throw Error("ERR_OPTION", "Tensor '" + session.tensor(tensor).name + "' has no kept value; set keepValues and run first.");
      }
      return typed_array(info.Env(), bytes, session.tensor(tensor).dtype);
    });
  }

  Napi::Value dispose(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      require_idle();
      core_->session.reset();
      return info.Env().Undefined();
    });
  }

  const std::shared_ptr<IntegerCore> core_;
};

}  // namespace

void export_integer(Napi::Env env, Napi::Object exports) { exports.Set("IntegerSession", IntegerSession::define(env)); }

}  // namespace pcqat::binding
