#include "time_ops.hpp"

#include "time_blocks.hpp"

namespace snnc {
namespace {

// What a layer of neurons over time reads.
enum class Reads {
  kEveryTimestep,
  kOneForAll,  // the same input at every timestep, given once
};

// A layer of neurons that keep a membrane from one timestep to the next.
class OverTimeKernel : public Kernel {
 public:
  OverTimeKernel(const NeuronName& name, Reads reads, const NodeInfo& info)
      : label_(info.label()),
        axis_(info),
        reads_(reads),
        membrane_(name, info),
        steps_(name, membrane_.decision().unit, info) {}

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
    const bool once = reads_ == Reads::kOneForAll;
    const Shape shape = once ? x.shape : axis_.unfolded(x.shape);
    const StepRows rows(shape, steps);
    const size_t count = shape.count();
    const auto* in = x.as<float>();
    auto* out = run.output<float>(axis_.folded(shape));
    over_blocks(run, count, [&](size_t first, size_t size) {
      NeuronBlock block(kernels_.time, membrane_, rows, first, size);
      for (size_t t = 0; t < axis_.timesteps(); ++t)
        block.next(in + (once ? 0 : t * count) + first, out + t * count + first);
    });
  }

  std::string label_;
  TimeAxis axis_;
  Reads reads_;
  MembraneKind membrane_;
  StepInputs steps_;
  const Kernels& kernels_ = active_kernels();
};

// Apply(kernels, x, y, n, time) on blocks: what every entry becomes over time by itself.
template <void (*Apply)(const TimeKernels&, const float*, float*, size_t, const Timesteps&)>
class EntrywiseKernel : public Kernel {
 public:
  explicit EntrywiseKernel(const NodeInfo& info) : label_(info.label()), axis_(info) {}

  void compute(const Run& run) const override {
    try {
      apply(run);
    } catch (const Error& error) {
      throw Error(label_ + ": " + error.what());
    }
  }

 private:
  void apply(const Run& run) const {
    const Tensor x = run.input(0);
    const size_t count = axis_.unfolded(x.shape).count();
    const Timesteps time{axis_.timesteps(), count};
    const float* in = x.as<float>();
    float* out = run.output<float>(x.shape);
    over_blocks(run, count, [&](size_t first, size_t n) {
      Apply(kernels_.time, in + first, out + first, n, time);
    });
  }

  std::string label_;
  TimeAxis axis_;
  const Kernels& kernels_ = active_kernels();
};

void running_mean(const TimeKernels& kernels, const float* x, float* y, size_t n,
                  const Timesteps& time) {
  MeanBlock block(kernels, n);
  for (size_t t = 0; t < time.count; ++t) block.next(x + t * time.stride, y + t * time.stride);
}

void telescope(const TimeKernels& kernels, const float* x, float* y, size_t n,
               const Timesteps& time) {
  kernels.telescope(x, y, n, time);
}

// In place, of as many timesteps as are read: at every entry a timestep is read before what takes
// its memory is written.
std::unique_ptr<Operation> operation(const std::string& name, std::vector<Input> inputs,
                                     Operation::Maker make, Reads reads = Reads::kEveryTimestep) {
  const bool once = reads == Reads::kOneForAll;
  const auto infer = [once](Inference& inference) {
    KnownShape shape = inference.input(0);
    if (once && !shape.dims.empty()) {
      const int64_t timesteps = inference.integer("timesteps", 0);
      const bool known = shape.dims[0] >= 0 && timesteps > 0 && timesteps <= kMostTimesteps;
      shape.dims[0] = known ? shape.dims[0] * timesteps : -1;
      shape.symbols[0].clear();
    }
    inference.output(shape, {ort::kFloat32});
  };
  return std::make_unique<Operation>(name, std::move(inputs),
                                     std::vector<ort::ElementType>{ort::kFloat32}, std::move(make),
                                     infer, once ? Operation::kNoInput : 0);
}

template <void (*Apply)(const TimeKernels&, const float*, float*, size_t, const Timesteps&)>
std::unique_ptr<Operation> entrywise(const char* name) {
  return operation(name, {{ort::kFloat32}}, [](const NodeInfo& info) {
    return std::make_unique<EntrywiseKernel<Apply>>(info);
  });
}

std::unique_ptr<Operation> neurons(const NeuronName& name, Reads reads) {
  std::vector<Input> inputs{{ort::kFloat32}};
  for (const Input& step : step_inputs(name)) inputs.push_back(step);
  const std::string repeat = reads == Reads::kOneForAll ? "Repeat" : "";
  return operation(
      repeat + name.text + "OverTime", inputs,
      [&name, reads](const NodeInfo& info) {
        return std::make_unique<OverTimeKernel>(name, reads, info);
      },
      reads);
}

}  // namespace

void add_time_operations(Operations& operations) {
  for (const NeuronName& name : neuron_names())
    for (const Reads reads : {Reads::kEveryTimestep, Reads::kOneForAll})
      operations.push_back(neurons(name, reads));
  operations.push_back(entrywise<running_mean>("RunningMean"));
  operations.push_back(entrywise<telescope>("Telescope"));
}

}  // namespace snnc
