#include "fused.hpp"

namespace snnc {
namespace {

std::string name_of(Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return "Gelu";
    case Activation::kRelu:
      return "Relu";
    default:
      return "";
  }
}

std::vector<Fusion> make_fusions() {
  std::vector<const NeuronName*> neurons{nullptr};
  for (const NeuronName& name : neuron_names())
    if (name.levels == "Dense" && name.positive()) neurons.push_back(&name);
  std::vector<Fusion> fusions;
  for (const bool add : {false, true})
    for (const Activation activation : {Activation::kNone, Activation::kGelu, Activation::kRelu})
      for (const NeuronName* neuron : neurons) {
        const std::string drive = (add ? "Add" : "") + name_of(activation);
        const std::string count = neuron ? neuron->text + "Count" : "";
        if (!neuron || activation != Activation::kRelu)
          fusions.push_back({drive + count, add, activation, neuron, false});
        if (neuron) fusions.push_back({drive + "Kept" + count, add, activation, neuron, true});
      }
  return fusions;
}

}  // namespace

const std::vector<Fusion>& fusions() {
  static const std::vector<Fusion> all = make_fusions();
  return all;
}

std::vector<Input> Fusion::inputs() const {
  std::vector<Input> inputs;
  if (add) inputs.push_back({ort::kFloat32});
  if (neuron)
    for (const Input& step : living_step_inputs(*neuron)) inputs.push_back(step);
  return inputs;
}

std::vector<ort::ElementType> Fusion::outputs() const {
  if (kept) return {ort::kUint8, ort::kFloat32};
  return {neuron ? ort::kUint8 : ort::kFloat32};
}

FusedKernel::FusedKernel(const Fusion& fusion, const NodeInfo& info, size_t drive_inputs)
    : fusion_(fusion), label_(info.label()), first_(drive_inputs) {
  if (!fusion.neuron) return;
  decision_ = decision_of(*fusion.neuron, info, true);
  const StepTensors tensors = living_steps(*fusion.neuron, first_ + fusion.add,
                                           [&](size_t i) { return info.constant(i); });
  if (!tensors.positive || bool(tensors.negative) != fusion.neuron->negative()) return;
  try {
    constant_steps_ = single_steps(tensors);
  } catch (const Error& error) {
    info.refuse(error.what());
  }
}

void FusedKernel::compute(const Run& run) const {
  try {
    run_drive(run);
  } catch (const Error& error) {
    throw Error(label_ + ": " + error.what());
  }
}

FusedRun FusedKernel::open(const Run& run, const Shape& shape) const {
  FusedRun fused;
  if (fusion_.add) {
    const Tensor addend = run.input(first_);
    if (!(addend.shape == shape))
      throw Error("the addend is of shape " + addend.shape.text() + ", not of the result's shape " +
                  shape.text());
    fused.addend = addend.as<float>();
  }
  if (!fusion_.neuron) {
    fused.result = run.output<float>(shape);
    return fused;
  }
  if (!constant_steps_)
    fused.own_steps = single_steps(living_steps(*fusion_.neuron, first_ + fusion_.add,
                                                [&](size_t i) { return run.input(i); }));
  fused.steps = (constant_steps_ ? *constant_steps_ : *fused.own_steps).row(0, false);
  fused.decision = &*decision_;
  fused.result = run.output<uint8_t>(shape);
  if (fusion_.kept) fused.kept = run.output<float>(shape, 1);
  return fused;
}

}  // namespace snnc
