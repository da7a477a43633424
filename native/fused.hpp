// What an operation adds to a drive, by its name: a residual, an activation function, the count of
// a neuron.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "neuron_ops.hpp"
#include "op.hpp"

namespace snnc {

// The part of an operation's name behind the drive: [Add][Gelu][<neuron>Count] or [Add]Relu.
struct Fusion {
  std::string suffix;
  bool add;
  Activation activation;
  const NeuronName* neuron;  // none: the drive itself is the result, as float

  std::vector<Input> inputs() const;
  ort::ElementType output() const { return neuron ? ort::kUint8 : ort::kFloat32; }
};

// Every combination; neurons are those of dense levels with positive spikes. They rectify what they
// read, so that none follows a Relu.
const std::vector<Fusion>& fusions();

// The memory and numbers of one run of a fusion. Pointers are into the run's tensors.
struct FusedRun {
  std::optional<Steps> own_steps;
  RowSteps steps{};
  const float* addend = nullptr;
  const Decision* decision = nullptr;
  void* result = nullptr;
};

// A drive with what is fused behind it. Errors of a run say which node it is.
class FusedKernel : public Kernel {
 public:
  // drive_inputs: how many inputs come before those of the fusion.
  FusedKernel(const Fusion& fusion, const NodeInfo& info, size_t drive_inputs);
  void compute(const Run& run) const final;

 protected:
  virtual void run_drive(const Run& run) const = 0;
  // Allocates the result; its shape is that of the drive.
  FusedRun open(const Run& run, const Shape& shape) const;
  Activation activation() const { return fusion_.activation; }

  const Kernels& kernels_ = active_kernels();

 private:
  const Fusion& fusion_;
  std::string label_;
  size_t first_;
  std::optional<Decision> decision_;
  std::optional<Steps> constant_steps_;
};

// The operation of a drive with one fusion behind it. fusion: outlives the operation.
template <class Drive>
void add_fused_operation(Operations& operations, const char* name, std::vector<Input> inputs,
                         void (*infer)(Inference&, ort::ElementType), const Fusion& fusion) {
  // every sum of a residual is read right before it is replaced
  const bool in_place = fusion.add && !fusion.neuron && inputs.size() == Operation::kAddend;
  for (const Input& input : fusion.inputs()) inputs.push_back(input);
  operations.push_back(std::make_unique<Operation>(
      name + fusion.suffix, inputs, fusion.output(),
      [&fusion](const NodeInfo& info) { return std::make_unique<Drive>(fusion, info); },
      [infer, &fusion](Inference& inference) { infer(inference, fusion.output()); },
      in_place ? Operation::kAddend : Operation::kNoInput));
}

// The operations of one drive: `name` and `name` with every fusion behind it.
template <class Drive>
void add_fused_operations(Operations& operations, const char* name,
                          const std::vector<Input>& drive_inputs,
                          void (*infer)(Inference&, ort::ElementType)) {
  for (const Fusion& fusion : fusions())
    add_fused_operation<Drive>(operations, name, drive_inputs, infer, fusion);
}

}  // namespace snnc
