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
  std::string sides;   // Both, Positive, Negative or Silent
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

// The types of the two step inputs of a neuron.
std::vector<Input> step_inputs(const NeuronName& name);

void add_neuron_operations(Operations& operations);

}  // namespace snnc
