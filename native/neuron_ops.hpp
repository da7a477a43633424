// The neuron as a part of operations: its name, and its parameters from a node.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"
#include "op.hpp"
#include "steps.hpp"

namespace snnc {

// What an operation's name says of a neuron, e.g. SfnDenseNearestBothLimited.
struct NeuronName {
  std::string text;
  std::string levels;  // Dense, Sformer, Linear or Exponential
  std::string sides;   // Both, Positive or Negative
  bool eq11;
  bool positive() const { return sides == "Both" || sides == "Positive"; }
  bool negative() const { return sides == "Both" || sides == "Negative"; }
  bool contiguous() const { return levels == "Dense" || levels == "Linear"; }
};

// Every neuron that has a kernel.
const std::vector<NeuronName>& neuron_names();

// The decision of a neuron from its node's attributes M, bound and limit; refuses what is out of
// range. counts: it emits bytes, which its levels must fit.
Decision decision_of(const NeuronName& name, const NodeInfo& info, bool counts);

// Steps that are single numbers, as fused operations take them; refuses others.
Steps single_steps(const StepTensors& tensors);

// The two step inputs of a neuron that is an operation of its own; a dead branch's is absent.
std::vector<Input> step_inputs(const NeuronName& name);

// The step inputs of a neuron fused behind another operation: those of living branches only,
// since onnxruntime 1.20 crashes on shape inference with absent inputs.
std::vector<Input> living_step_inputs(const NeuronName& name);

// The step tensors from input `first` on, of a fused neuron; get(i) is the i-th input.
template <class Get>
StepTensors living_steps(const NeuronName& name, size_t first, const Get& get) {
  StepTensors steps;
  if (name.positive()) steps.positive = get(first++);
  if (name.negative()) steps.negative = get(first);
  return steps;
}

void add_neuron_operations(Operations& operations);

}  // namespace snnc
