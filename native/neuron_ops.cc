#include "neuron_ops.hpp"

#include <algorithm>

namespace snnc {
namespace {

constexpr size_t kTaskInputs = 1 << 14;

template <class Out>
void fire(const Kernels&, const float*, Out*, size_t, const RowSteps&, const Decision&);
template <>
void fire(const Kernels& k, const float* x, float* y, size_t n, const RowSteps& s,
          const Decision& d) {
  k.fire_floats(x, y, n, s, d);
}
template <>
void fire(const Kernels& k, const float* x, uint8_t* y, size_t n, const RowSteps& s,
          const Decision& d) {
  k.fire_counts(x, y, n, s, d);
}

// A layer of neurons. Out: float for spikes (step x count), uint8 for counts.
template <class Out>
class NeuronKernel : public Kernel {
 public:
  NeuronKernel(const NeuronName& name, const NodeInfo& info)
      : label_(info.label()),
        decision_(decision_of(name, info, sizeof(Out) == 1)),
        steps_(name, decision_.unit, info) {}

  void compute(const Run& run) const override {
    try {
      steps_.with(run, [&](const Steps& steps) { fire_all(run, steps); });
    } catch (const Error& error) {
      throw Error(label_ + ": " + error.what());
    }
  }

 private:
  void fire_all(const Run& run, const Steps& steps) const {
    const Tensor x = run.input(0);
    const StepRows rows(x.shape, steps);
    const size_t count = x.shape.count(), length = rows.length();
    const float* in = x.as<float>();
    Out* out = run.output<Out>(x.shape);
    auto task = [&](size_t number) {
      const size_t end = std::min(count, (number + 1) * kTaskInputs);
      for (size_t i = number * kTaskInputs; i < end;) {
        const size_t column = i % length, n = std::min(length - column, end - i);
        fire(kernels_, in + i, out + i, n, rows.steps(i / length, column), decision_);
        i += n;
      }
    };
    run.parallel((count + kTaskInputs - 1) / kTaskInputs, task);
  }

  std::string label_;
  Decision decision_;
  StepInputs steps_;
  const Kernels& kernels_ = active_kernels();
};

template <class Out>
std::unique_ptr<Operation> neuron_operation(const NeuronName& name, const char* suffix,
                                            ort::ElementType type) {
  std::vector<Input> inputs{{ort::kFloat32}};
  for (const Input& step : step_inputs(name)) inputs.push_back(step);
  return std::make_unique<Operation>(
      name.text + suffix, inputs, std::vector<ort::ElementType>{type},
      [&name](const NodeInfo& info) { return std::make_unique<NeuronKernel<Out>>(name, info); },
      [type](Inference& inference) { inference.output(inference.input(0), {type}); },
      sizeof(Out) == sizeof(float) ? 0 : Operation::kNoInput);
}

}  // namespace

StepInputs::StepInputs(const NeuronName& name, float unit, const NodeInfo& info)
    : name_(name), unit_(unit) {
  const StepTensors tensors{info.constant(1), info.constant(2)};
  if (bool(tensors.positive) == name.positive() && bool(tensors.negative) == name.negative())
    constant_.emplace(tensors, unit);
}

Steps StepInputs::of(const Run& run) const {
  StepTensors tensors{run.optional(1), run.optional(2)};
  if (!name_.positive()) tensors.positive.reset();
  if (!name_.negative()) tensors.negative.reset();
  return Steps(tensors, unit_);
}

Steps single_steps(const StepTensors& tensors) {
  for (const auto& tensor : {tensors.positive, tensors.negative})
    if (tensor && tensor->shape.count() != 1)
      throw Error("steps must be single numbers, not of shape " + tensor->shape.text());
  return Steps(tensors);
}

std::vector<Input> step_inputs(const NeuronName& name) {
  const auto presence = [](bool alive) { return alive ? ort::kRequired : ort::kOptional; };
  return {{ort::kFloat32, presence(name.positive())}, {ort::kFloat32, presence(name.negative())}};
}

std::vector<Input> living_step_inputs(const NeuronName& name) {
  const size_t living = size_t{name.positive()} + size_t{name.negative()};
  return std::vector<Input>(living, {ort::kFloat32, ort::kRequired});
}

void add_neuron_operations(Operations& operations) {
  for (const NeuronName& name : neuron_names()) {
    operations.push_back(neuron_operation<float>(name, "", ort::kFloat32));
    operations.push_back(neuron_operation<uint8_t>(name, "Count", ort::kUint8));
  }
}

}  // namespace snnc
