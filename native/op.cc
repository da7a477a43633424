#include "op.hpp"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>

namespace snnc {
namespace {

void check(ort::Table api, OrtStatus* status) {
  if (status == nullptr) return;
  std::string message = ort::GetErrorMessage::call(api, status);
  ort::ReleaseStatus::call(api, status);
  throw Error(message);
}

// Whether a call succeeded; its error is dropped.
bool succeeded(ort::Table api, OrtStatus* status) {
  if (status == nullptr) return true;
  ort::ReleaseStatus::call(api, status);
  return false;
}

template <class Body>
OrtStatus* guarded(ort::Table api, Body&& body) {
  try {
    body();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return ort::CreateStatus::call(api, ort::kFail, "snnc: out of memory");
  } catch (const std::exception& error) {
    return ort::CreateStatus::call(api, ort::kInvalidArgument, error.what());
  }
}

Tensor tensor_of(ort::Table api, const OrtValue* value) {
  Tensor tensor;
  ort::Info* info = nullptr;
  check(api, ort::GetTensorInfo::call(api, value, &info));
  const auto release = [&](ort::Info* i) { ort::ReleaseInfo::call(api, i); };
  std::unique_ptr<ort::Info, decltype(release)> owned(info, release);
  size_t rank = 0;
  check(api, ort::GetDimensionsCount::call(api, info, &rank));
  if (rank > kMaxRank) throw Error("a tensor of more than 16 dimensions");
  int64_t dims[kMaxRank];
  check(api, ort::GetDimensions::call(api, info, dims, rank));
  tensor.shape = Shape(dims, rank);
  void* data = nullptr;
  check(api, ort::TensorData::call(api, const_cast<OrtValue*>(value), &data));
  tensor.data = data;
  return tensor;
}

// onnxruntime gives no operation to ask: one function for each pair.
template <int kInput, int kOutput>
size_t ORT_CALL may_inplace(int** inputs, int** outputs) {
  static int input = kInput, output = kOutput;
  *inputs = &input;
  *outputs = &output;
  return 1;
}

}  // namespace

std::string Shape::text() const {
  std::string out = "[";
  for (size_t i = 0; i < rank_; ++i) out += (i ? "," : "") + std::to_string(dims_[i]);
  return out + "]";
}

std::string NodeInfo::label() const {
  size_t size = 0;
  std::string name;
  if (succeeded(api_, ort::GetNodeName::call(api_, info_, nullptr, &size)) && size > 1) {
    name.resize(size);
    if (!succeeded(api_, ort::GetNodeName::call(api_, info_, &name[0], &size))) name.clear();
    name.resize(name.empty() ? 0 : size - 1);
  }
  return std::string("ai.snnc.") + operation_ + (name.empty() ? "" : " '" + name + "'");
}

void NodeInfo::refuse(const std::string& message) const { throw Error(label() + ": " + message); }

int64_t NodeInfo::integer(const char* name) const {
  int64_t value = 0;
  if (!succeeded(api_, ort::GetIntegerAttribute::call(api_, info_, name, &value)))
    refuse(std::string("the integer attribute '") + name + "' is missing");
  return value;
}

int64_t NodeInfo::integer(const char* name, int64_t otherwise) const {
  int64_t value = 0;
  OrtStatus* status = ort::GetIntegerAttribute::call(api_, info_, name, &value);
  return succeeded(api_, status) ? value : otherwise;
}

float NodeInfo::number(const char* name) const {
  float value = 0;
  if (!succeeded(api_, ort::GetFloatAttribute::call(api_, info_, name, &value)))
    refuse(std::string("the number '") + name + "' is missing");
  return value;
}

float NodeInfo::number(const char* name, float otherwise) const {
  float value = 0;
  OrtStatus* status = ort::GetFloatAttribute::call(api_, info_, name, &value);
  return succeeded(api_, status) ? value : otherwise;
}

std::vector<int64_t> NodeInfo::integers(const char* name, std::vector<int64_t> otherwise) const {
  size_t size = 0;
  if (!succeeded(api_, ort::GetIntegersAttribute::call(api_, info_, name, nullptr, &size)))
    return otherwise;
  std::vector<int64_t> values(size);
  if (size) check(api_, ort::GetIntegersAttribute::call(api_, info_, name, values.data(), &size));
  return values;
}

std::optional<Tensor> NodeInfo::constant(size_t input) const {
  int is_constant = 0;
  const OrtValue* value = nullptr;
  OrtStatus* status = ort::GetConstantInput::call(api_, info_, input, &is_constant, &value);
  if (!succeeded(api_, status) || !is_constant || value == nullptr) return std::nullopt;
  return tensor_of(api_, value);
}

std::optional<Tensor> Run::optional(size_t input) const {
  size_t count = 0;
  check(api_, ort::GetInputCount::call(api_, context_, &count));
  if (input >= count) return std::nullopt;
  const OrtValue* value = nullptr;
  check(api_, ort::GetInput::call(api_, context_, input, &value));
  if (value == nullptr) return std::nullopt;
  return tensor_of(api_, value);
}

Tensor Run::input(size_t input) const {
  std::optional<Tensor> found = optional(input);
  if (!found) throw Error("input " + std::to_string(input) + " is missing");
  return *found;
}

void* Run::output_data(const Shape& shape, size_t i) const {
  OrtValue* value = nullptr;
  check(api_, ort::GetOutput::call(api_, context_, i, shape.data(), shape.rank(), &value));
  void* data = nullptr;
  check(api_, ort::TensorData::call(api_, value, &data));
  return data;
}

void Run::run_parallel(size_t count, void (*task)(const void*, size_t), const void* state) const {
  struct Job {
    void (*task)(const void*, size_t);
    const void* state;
    std::mutex mutex;
    std::exception_ptr error;
  } job{task, state, {}, nullptr};
  auto one = [](void* shared, size_t i) {
    Job& job = *static_cast<Job*>(shared);
    try {
      job.task(job.state, i);
    } catch (...) {  // must not cross onnxruntime's threads
      const std::lock_guard<std::mutex> lock(job.mutex);
      if (!job.error) job.error = std::current_exception();
    }
  };
  check(api_, ort::ParallelFor::call(api_, context_, one, count, 0, &job));
  if (job.error) std::rethrow_exception(job.error);
}

KnownShape Inference::input(size_t i) const {
  ort::Info* info = nullptr;  // owned by the context
  check(api_, ort::InferredInput::call(api_, context_, i, &info));
  size_t rank = 0;
  check(api_, ort::GetDimensionsCount::call(api_, info, &rank));
  KnownShape shape;
  shape.dims.resize(rank);
  std::vector<const char*> symbols(rank);
  if (rank) {
    check(api_, ort::GetDimensions::call(api_, info, shape.dims.data(), rank));
    check(api_, ort::GetSymbolicDimensions::call(api_, info, symbols.data(), rank));
  }
  for (const char* symbol : symbols) shape.symbols.emplace_back(symbol ? symbol : "");
  return shape;
}

int64_t Inference::integer(const char* name, int64_t otherwise) const {
  const OrtOpAttr* attribute = nullptr;
  int64_t value = 0;
  size_t size = 0;
  if (!succeeded(api_, ort::InferredAttribute::call(api_, context_, name, &attribute)) ||
      attribute == nullptr ||
      !succeeded(api_, ort::ReadAttribute::call(api_, attribute, ort::kInteger, &value,
                                                sizeof value, &size)))
    return otherwise;
  return value;
}

std::vector<int64_t> Inference::integers(const char* name, std::vector<int64_t> otherwise) const {
  const OrtOpAttr* attribute = nullptr;
  int64_t values[2 * kMaxRank];
  size_t size = 0;
  if (!succeeded(api_, ort::InferredAttribute::call(api_, context_, name, &attribute)) ||
      attribute == nullptr ||
      !succeeded(api_, ort::ReadAttribute::call(api_, attribute, ort::kIntegers, values,
                                                sizeof values, &size)))
    return otherwise;
  return {values, values + size / sizeof(int64_t)};
}

void Inference::output(const KnownShape& shape, const std::vector<ort::ElementType>& types) {
  if (!shape.certain()) return;
  ort::Info* info = nullptr;
  check(api_, ort::CreateInfo::call(api_, &info));
  const auto release = [&](ort::Info* i) { ort::ReleaseInfo::call(api_, i); };
  std::unique_ptr<ort::Info, decltype(release)> owned(info, release);
  const size_t rank = shape.dims.size();
  std::vector<const char*> symbols;
  for (const std::string& symbol : shape.symbols) symbols.push_back(symbol.c_str());
  check(api_, ort::SetDimensions::call(api_, info, shape.dims.data(), rank));
  if (rank) check(api_, ort::SetSymbolicDimensions::call(api_, info, symbols.data(), rank));
  for (size_t i = 0; i < types.size(); ++i) {
    check(api_, ort::SetElementType::call(api_, info, types[i]));
    check(api_, ort::InferOutput::call(api_, context_, i, info));
  }
}

ort::Table Operation::api = nullptr;

Operation::Operation(std::string name, std::vector<Input> inputs,
                     std::vector<ort::ElementType> outputs, Maker make, Inferrer infer,
                     int in_place)
    : OrtCustomOp{},
      name_(std::move(name)),
      inputs_(std::move(inputs)),
      outputs_(std::move(outputs)),
      make_(std::move(make)),
      infer_(std::move(infer)) {
  using Op = const OrtCustomOp;
  version = ort::kApiVersion;
  get_name = [](Op* op) { return static_cast<const Operation*>(op)->name_.c_str(); };
  get_execution_provider = [](Op*) -> const char* { return nullptr; };
  get_input_count = [](Op* op) { return static_cast<const Operation*>(op)->inputs_.size(); };
  get_input_type = [](Op* op, size_t i) -> int {
    return static_cast<const Operation*>(op)->inputs_[i].type;
  };
  get_input_presence = [](Op* op, size_t i) -> int {
    return static_cast<const Operation*>(op)->inputs_[i].presence;
  };
  get_output_count = [](Op* op) { return static_cast<const Operation*>(op)->outputs_.size(); };
  get_output_type = [](Op* op, size_t i) -> int {
    return static_cast<const Operation*>(op)->outputs_[i];
  };
  get_output_presence = get_input_memory = [](Op*, size_t) { return 0; };
  get_variadic_input_minimum = get_variadic_input_homogeneity = [](Op*) { return 1; };
  get_variadic_output_minimum = get_variadic_output_homogeneity = [](Op*) { return 1; };
  get_start_version = [](Op*) { return 1; };
  get_end_version = [](Op*) { return 1; };
  create_kernel_checked = [](Op* op, ort::Table api, const OrtKernelInfo* info, void** kernel) {
    return guarded(api, [&] {
      const auto* operation = static_cast<const Operation*>(op);
      auto made = operation->make_(NodeInfo(api, info, operation->name_.c_str()));
      made->api = api;
      *kernel = made.release();
    });
  };
  compute_checked = [](void* state, OrtKernelContext* context) {
    const auto* kernel = static_cast<const Kernel*>(state);
    return guarded(kernel->api, [&] { kernel->compute(Run(kernel->api, context)); });
  };
  destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  // onnxruntime 1.20 crashes when it prepares inference for an input that is absent
  const bool all_present = std::none_of(inputs_.begin(), inputs_.end(), [](const Input& input) {
    return input.presence == ort::kOptional;
  });
  if (all_present) infer_shapes = [](Op* op, OrtShapeInferContext* context) {
    return guarded(api, [&] {
      Inference inference(api, context);
      static_cast<const Operation*>(op)->infer_(inference);
    });
  };
  if (in_place == kNoInput) return;
  const bool first = outputs_.size() == 1;
  get_may_inplace = in_place != kAddend ? may_inplace<0, 0>
                    : first             ? may_inplace<kAddend, 0>
                                        : may_inplace<kAddend, 1>;
  release_may_inplace = [](int*, int*) {};
}

void* scratch(size_t bytes, int slot) {
  struct Buffer {
    void* data = nullptr;
    size_t size = 0;
    ~Buffer() { std::free(data); }
  };
  thread_local Buffer buffers[8];
  Buffer& buffer = buffers[slot];
  if (bytes > buffer.size) {
    constexpr size_t kAlignment = 64;
    const size_t size = (bytes + bytes / 2 + kAlignment - 1) / kAlignment * kAlignment;
    void* grown = std::aligned_alloc(kAlignment, size);
    if (grown == nullptr) throw std::bad_alloc();
    std::free(buffer.data);
    buffer = {nullptr, 0};
    buffer.data = grown;
    buffer.size = size;
  }
  return buffer.data;
}

}  // namespace snnc
