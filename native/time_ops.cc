#include "time_ops.hpp"

#include <algorithm>

#include "neuron_ops.hpp"

namespace snnc {
namespace {

// Entries of one timestep that go through all timesteps together: many, since memory is read by the
// page, but so that membranes stay in the second cache and there are tasks for several threads.
constexpr size_t kLeastBlock = 1 << 11, kMostBlock = 1 << 15, kTasks = 8;

// The attribute `timesteps` of a node.
class TimeAxis {
 public:
  explicit TimeAxis(const NodeInfo& info) : timesteps_(info.integer("timesteps")) {
    if (timesteps_ < 1)
      info.refuse("timesteps must be at least 1, not " + std::to_string(timesteps_));
  }
  size_t timesteps() const { return static_cast<size_t>(timesteps_); }
  // The shape of one timestep; refuses inputs that cannot be unfolded.
  Shape unfolded(Shape shape) const {
    if (shape.rank() == 0) throw Error("the input is a single number: its first axis holds time");
    if (shape[0] % timesteps_ != 0)
      throw Error("inputs of shape " + shape.text() + " are not " + std::to_string(timesteps_) +
                  " timesteps: the first axis does not divide");
    shape[0] /= timesteps_;
    return shape;
  }

 private:
  int64_t timesteps_;
};

// task(first, n) for blocks of entries of one timestep, over onnxruntime's threads.
template <class Task>
void over_blocks(const Run& run, size_t count, const Task& task) {
  const size_t share = (count / kTasks + kLeastBlock - 1) / kLeastBlock * kLeastBlock;
  const size_t block = std::clamp(share, kLeastBlock, kMostBlock);
  run.parallel((count + block - 1) / block, [&](size_t number) {
    const size_t first = number * block;
    task(first, std::min(block, count - first));
  });
}

float* memory(size_t count) { return static_cast<float*>(scratch(count * sizeof(float))); }

// A layer of neurons that keep a membrane from one timestep to the next.
class OverTimeKernel : public Kernel {
 public:
  OverTimeKernel(const NeuronName& name, const NodeInfo& info)
      : label_(info.label()),
        axis_(info),
        decision_(decision_of(name, info, false)),
        reset_(name.dual   ? Reset::kDual
               : name.hard ? Reset::kHard
                           : Reset::kSoft),
        resting_(name.hard ? info.number("potential") : 0),
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
    const Shape shape = axis_.unfolded(x.shape);
    const StepRows rows(shape, steps);
    const size_t count = shape.count(), length = rows.length();
    const float* in = x.as<float>();
    float* out = run.output<float>(x.shape);
    over_blocks(run, count, [&](size_t first, size_t size) {
      float* kept = memory(2 * size);
      std::fill_n(kept, 2 * size, 0.0f);
      for (size_t t = 0; t < axis_.timesteps(); ++t)
        for (size_t i = first; i < first + size;) {
          const size_t column = i % length, n = std::min(length - column, first + size - i);
          const size_t now = t * count + i, own = i - first;
          kernels_.time.fire(in + now, out + now, n, rows.steps(i / length, column), decision_,
                             {reset_, resting_, kept + own, kept + size + own});
          i += n;
        }
    });
  }

  std::string label_;
  TimeAxis axis_;
  Decision decision_;
  Reset reset_;
  float resting_;
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
  kernels.running_mean(x, y, n, time, memory(n));
}

void telescope(const TimeKernels& kernels, const float* x, float* y, size_t n,
               const Timesteps& time) {
  kernels.telescope(x, y, n, time);
}

// In place: at every entry a timestep is read before what takes its memory is written.
std::unique_ptr<Operation> operation(const std::string& name, std::vector<Input> inputs,
                                     Operation::Maker make) {
  return std::make_unique<Operation>(
      name, std::move(inputs), std::vector<ort::ElementType>{ort::kFloat32}, std::move(make),
      [](Inference& inference) { inference.output(inference.input(0), {ort::kFloat32}); }, 0);
}

template <void (*Apply)(const TimeKernels&, const float*, float*, size_t, const Timesteps&)>
std::unique_ptr<Operation> entrywise(const char* name) {
  return operation(name, {{ort::kFloat32}}, [](const NodeInfo& info) {
    return std::make_unique<EntrywiseKernel<Apply>>(info);
  });
}

}  // namespace

void add_time_operations(Operations& operations) {
  for (const NeuronName& name : neuron_names()) {
    std::vector<Input> inputs{{ort::kFloat32}};
    for (const Input& step : step_inputs(name)) inputs.push_back(step);
    operations.push_back(operation(name.text + "OverTime", inputs, [&name](const NodeInfo& info) {
      return std::make_unique<OverTimeKernel>(name, info);
    }));
  }
  operations.push_back(entrywise<running_mean>("RunningMean"));
  operations.push_back(entrywise<telescope>("Telescope"));
}

}  // namespace snnc
