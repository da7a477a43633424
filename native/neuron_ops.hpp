// The neuron as an operation of its own, and its steps as inputs of operations that it is part of.
#pragma once

#include <vector>

#include "neuron_name.hpp"
#include "op.hpp"
#include "steps.hpp"

namespace snnc {

// Steps of scale-and-fire neurons that are single numbers, as fused operations take them; refuses
// others.
Steps single_steps(const StepTensors& tensors);

// The two step inputs of a neuron that is an operation of its own; a dead branch's is absent.
std::vector<Input> step_inputs(const NeuronName& name);

// The steps of a neuron that is an operation of its own: brought to one shape once where they are
// constant, else at every run.
class StepInputs {
 public:
  StepInputs(const NeuronName& name, float unit, const NodeInfo& info);
  // use(steps) with those of a run.
  template <class Use>
  void with(const Run& run, const Use& use) const {
    constant_ ? use(*constant_) : use(of(run));
  }

 private:
  Steps of(const Run& run) const;

  const NeuronName& name_;
  float unit_;
  std::optional<Steps> constant_;
};

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
