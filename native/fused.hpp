// What an operation adds to a drive, by its name: a residual, an activation function, the count of
// a neuron.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "neuron_ops.hpp"
#include "op.hpp"

namespace snnc {

// The part of an operation's name behind the drive: [Add][Gelu|Relu][[Kept]<neuron>Count].
struct Fusion {
  std::string suffix;
  bool add;
  Activation activation;
  const NeuronName* neuron;  // none: the drive itself is the result, as float
  bool kept;                 // what the neuron reads is a second result

  std::vector<Input> inputs() const;
  std::vector<ort::ElementType> outputs() const;
};

// Every combination; neurons are those of dense levels with positive spikes. They rectify what they
// read, so that a Relu stands before them only where its result is kept.
const std::vector<Fusion>& fusions();

// The memory and numbers of one run of a fusion. Pointers are into the run's tensors.
struct FusedRun {
  std::optional<Steps> own_steps;
  RowSteps steps{};
  const float* addend = nullptr;
  const Decision* decision = nullptr;
  void* result = nullptr;
  float* kept = nullptr;
};

// A drive with what is fused behind it. Errors of a run say which node it is.
class FusedKernel : public Kernel {
 public:
  // drive_inputs: how many inputs come before those of the fusion.
  FusedKernel(const Fusion& fusion, const NodeInfo& info, size_t drive_inputs);
  void compute(const Run& run) const final;

 protected:
  virtual void run_drive(const Run& run) const = 0;
  // Allocates the results; their shape is that of the drive.
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

// Shapes of a drive's result, which has these types.
using Infer = void (*)(Inference&, const std::vector<ort::ElementType>& types);

// The operation of a drive with one fusion behind it. fusion: outlives the operation.
template <class Drive>
void add_fused_operation(Operations& operations, const char* name, std::vector<Input> inputs,
                         Infer infer, const Fusion& fusion) {
  // every sum of a residual is read right before it is replaced
  const bool real = !fusion.neuron || fusion.kept;
  const bool in_place = fusion.add && real && inputs.size() == Operation::kAddend;
  for (const Input& input : fusion.inputs()) inputs.push_back(input);
  operations.push_back(std::make_unique<Operation>(
      name + fusion.suffix, inputs, fusion.outputs(),
      [&fusion](const NodeInfo& info) { return std::make_unique<Drive>(fusion, info); },
      [infer, &fusion](Inference& inference) { infer(inference, fusion.outputs()); },
      in_place ? Operation::kAddend : Operation::kNoInput));
}

// The operations of one drive: `name` and `name` with every fusion behind it.
template <class Drive>
void add_fused_operations(Operations& operations, const char* name,
                          const std::vector<Input>& drive_inputs, Infer infer) {
  for (const Fusion& fusion : fusions())
    add_fused_operation<Drive>(operations, name, drive_inputs, infer, fusion);
}

}  // namespace snnc
