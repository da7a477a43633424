// A custom operation of onnxruntime in C++: tensors, attributes, threads, errors as exceptions.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "ort_abi.hpp"

namespace snnc {

constexpr size_t kMaxRank = 16;

// What is wrong with a node or its inputs; becomes onnxruntime's status.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Dimensions of a tensor, held without allocation.
class Shape {
 public:
  Shape() = default;
  Shape(const int64_t* dims, size_t rank) : rank_(rank) {
    if (rank > kMaxRank) throw Error("a tensor of more than 16 dimensions");
    for (size_t i = 0; i < rank; ++i) dims_[i] = dims[i];
  }
  size_t rank() const { return rank_; }
  int64_t operator[](size_t i) const { return dims_[i]; }
  int64_t& operator[](size_t i) { return dims_[i]; }
  int64_t back() const { return dims_[rank_ - 1]; }
  const int64_t* data() const { return dims_.data(); }
  // Product of the dimensions [begin, end).
  size_t count(size_t begin, size_t end) const {
    size_t n = 1;
    for (size_t i = begin; i < end; ++i) n *= static_cast<size_t>(dims_[i]);
    return n;
  }
  size_t count() const { return count(0, rank_); }
  bool operator==(const Shape& other) const {
    if (rank_ != other.rank_) return false;
    for (size_t i = 0; i < rank_; ++i)
      if (dims_[i] != other.dims_[i]) return false;
    return true;
  }
  std::string text() const;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  size_t rank_ = 0;
};

struct Tensor {
  Shape shape;
  const void* data = nullptr;
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

// A node when its kernel is made: attributes and constant inputs.
class NodeInfo {
 public:
  NodeInfo(ort::Table api, const OrtKernelInfo* info, const char* operation)
      : api_(api), info_(info), operation_(operation) {}
  int64_t integer(const char* name) const;
  int64_t integer(const char* name, int64_t otherwise) const;
  float number(const char* name) const;
  float number(const char* name, float otherwise) const;
  std::vector<int64_t> integers(const char* name, std::vector<int64_t> otherwise) const;
  // The input where it is an initializer of the model; its memory outlives the kernel.
  std::optional<Tensor> constant(size_t input) const;
  // An error of this node, by operation and name.
  [[noreturn]] void refuse(const std::string& message) const;
  std::string label() const;

 private:
  ort::Table api_;
  const OrtKernelInfo* info_;
  const char* operation_;
};

// One run of a node: inputs, outputs, threads.
class Run {
 public:
  Run(ort::Table api, OrtKernelContext* context) : api_(api), context_(context) {}
  // The input; nothing where an optional one is absent.
  std::optional<Tensor> optional(size_t input) const;
  Tensor input(size_t input) const;
  // The i-th output, allocated.
  template <class T>
  T* output(const Shape& shape, size_t i = 0) const {
    return static_cast<T*>(output_data(shape, i));
  }
  // task(i) for i in [0, count), spread over onnxruntime's threads.
  // What a task throws is thrown here.
  template <class Task>
  void parallel(size_t count, const Task& task) const {
    if (count == 0) return;
    if (count == 1) return task(size_t{0});
    run_parallel(
        count, [](const void* t, size_t i) { (*static_cast<const Task*>(t))(i); }, &task);
  }

 private:
  void* output_data(const Shape& shape, size_t i) const;
  void run_parallel(size_t count, void (*task)(const void*, size_t), const void* state) const;

  ort::Table api_;
  OrtKernelContext* context_;
};

// What is known of a node's inputs before it runs.
struct KnownShape {
  std::vector<int64_t> dims;         // -1 where unknown
  std::vector<std::string> symbols;  // names of unknown dimensions, "" where there are none

  // Whether onnxruntime can be told of it: every dimension has a size or a name. An unknown rank
  // looks like no dimensions.
  bool certain() const {
    for (size_t i = 0; i < dims.size(); ++i)
      if (dims[i] < 0 && symbols[i].empty()) return false;
    return !dims.empty();
  }
};

class Inference {
 public:
  Inference(ort::Table api, OrtShapeInferContext* context) : api_(api), context_(context) {}
  KnownShape input(size_t i) const;
  int64_t integer(const char* name, int64_t otherwise) const;
  std::vector<int64_t> integers(const char* name, std::vector<int64_t> otherwise) const;
  // Outputs of one shape.
  void output(const KnownShape& shape, const std::vector<ort::ElementType>& types);

 private:
  ort::Table api_;
  OrtShapeInferContext* context_;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void compute(const Run& run) const = 0;

  ort::Table api = nullptr;  // of the onnxruntime that made it
};

struct Input {
  ort::ElementType type;
  ort::Presence presence = ort::kRequired;
};

// An operation of domain ai.snnc. Objects live as long as the library.
class Operation : public OrtCustomOp {
 public:
  using Maker = std::function<std::unique_ptr<Kernel>(const NodeInfo&)>;
  using Inferrer = std::function<void(Inference&)>;

  // One or two outputs. infer: used where every input is required. in_place: the input whose
  // memory the last output may take, 0 or kAddend.
  Operation(std::string name, std::vector<Input> inputs, std::vector<ort::ElementType> outputs,
            Maker make, Inferrer infer, int in_place = kNoInput);
  static constexpr int kNoInput = -1, kAddend = 4;

  // Set once, before any operation is used.
  static ort::Table api;

 private:
  std::string name_;
  std::vector<Input> inputs_;
  std::vector<ort::ElementType> outputs_;
  Maker make_;
  Inferrer infer_;
};

using Operations = std::vector<std::unique_ptr<Operation>>;

// Memory of the calling thread that grows and is never given back before the thread ends. Two
// uses in one kernel take different slots.
void* scratch(size_t bytes, int slot = 0);

}  // namespace snnc
