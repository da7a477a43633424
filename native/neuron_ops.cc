#include "neuron_ops.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace snnc {
namespace {

constexpr int64_t kMaxM = 10;  // half steps of every level set stay exact in float32
constexpr size_t kTaskInputs = 1 << 14;

// Both rules decide alike where levels have no gaps, under the name of the first. Neurons that never
// fire have no kernel: their function body is a constant.
std::vector<NeuronName> make_names() {
  std::vector<NeuronName> names;
  for (const char* levels : {"Dense", "Linear", "Sformer", "Exponential"})
    for (const char* rule : {"Nearest", "Eq11"})
      for (const char* sides : {"Both", "Positive", "Negative"})
        for (const char* capped : {"", "Capped"})
          for (const char* limited : {"", "Limited"}) {
            NeuronName name{"", levels, sides, rule[0] == 'E'};
            if (name.contiguous() ? name.eq11 : *limited != '\0') continue;
            name.text = std::string("Sfn") + levels + rule + sides + capped + limited;
            names.push_back(name);
          }
  return names;
}

// The largest level of a set before a limit cuts it.
int64_t top_level(const NeuronName& name, int64_t m) {
  if (name.levels == "Linear") return 2 * m;
  if (name.levels == "Exponential") return int64_t{1} << (2 * m - 1);
  return m - 1 + (int64_t{1} << m);
}

int64_t limited(int64_t top, const NodeInfo& info) {
  const int64_t limit = info.integer("limit", 0);
  if (limit < 0) info.refuse("limit must be at least 0, not " + std::to_string(limit));
  return limit == 0 ? top : std::min(top, limit);
}

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
      : name_(name), label_(info.label()), decision_(decision_of(name, info, sizeof(Out) == 1)) {
    StepTensors tensors{info.constant(1), info.constant(2)};
    if (bool(tensors.positive) == name.positive() && bool(tensors.negative) == name.negative())
      constant_.emplace(tensors);
  }

  void compute(const Run& run) const override {
    try {
      if (constant_) return fire_all(run, *constant_);
      StepTensors tensors{run.optional(1), run.optional(2)};
      if (!name_.positive()) tensors.positive.reset();
      if (!name_.negative()) tensors.negative.reset();
      fire_all(run, Steps(tensors));
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

  const NeuronName& name_;
  std::string label_;
  Decision decision_;
  std::optional<Steps> constant_;
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

const std::vector<NeuronName>& neuron_names() {
  static const std::vector<NeuronName> names = make_names();
  return names;
}

Decision decision_of(const NeuronName& name, const NodeInfo& info, bool counts) {
  const int64_t m = info.integer("M");
  if (m < 1 || m > kMaxM)
    info.refuse("M must be from 1 to " + std::to_string(kMaxM) + ", not " + std::to_string(m));
  const int64_t top = limited(top_level(name, m), info), most = name.negative() ? 127 : 255;
  if (counts && top > most)
    info.refuse("levels up to " + std::to_string(top) + " do not fit a byte: at most " +
                std::to_string(most));
  const float bound = info.number("bound", std::numeric_limits<float>::infinity());
  if (!(bound > 0)) info.refuse("bound must be positive");
  const LevelSet levels = name.contiguous() ? LevelSet::kContiguous
                          : name.eq11       ? LevelSet::kDoublingEq11
                                            : LevelSet::kDoublingNearest;
  return {levels,
          name.negative(),
          static_cast<float>(2 * top),
          name.levels == "Sformer" ? static_cast<int32_t>(m - 1) : 0,
          bound,
          name.negative() ? 128 : 0};
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
