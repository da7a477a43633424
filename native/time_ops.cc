#include "time_ops.hpp"

#include <algorithm>

#include "neuron_ops.hpp"

namespace snnc {
namespace {

// Entries of one timestep that go through all timesteps together: many, since memory is read by the
// page, but so that membranes stay in the second cache and there are tasks for several threads.
constexpr size_t kLeastBlock = 1 << 11, kMostBlock = 1 << 15, kTasks = 8;

// Rows of one step that are shorter waste vectors: every input gets its own.
constexpr size_t kLeastRow = 256;

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
  Shape folded(Shape shape) const {
    if (shape.rank() == 0) throw Error("the input is a single number: its first axis holds samples");
    shape[0] *= timesteps_;
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
    const bool once = reads_ == Reads::kOneForAll;
    const Shape shape = once ? x.shape : axis_.unfolded(x.shape);
    const StepRows rows(shape, steps);
    const size_t count = shape.count();
    const auto* in = x.as<float>();
    auto* out = run.output<float>(axis_.folded(shape));
    over_blocks(run, count, [&](size_t first, size_t size) {
      float* kept = memory(2 * size);
      std::fill_n(kept, 2 * size, 0.0f);
      std::optional<StepMemory> expanded;
      if (rows.length() < kLeastRow) {
        expanded.emplace(static_cast<float*>(scratch(StepMemory::bytes(size), 1)), size);
        rows.each(first, size, [&](size_t i, size_t n, const RowSteps& own) {
          expanded->set(i, own, n);
        });
      }
      for (size_t t = 0; t < axis_.timesteps(); ++t) {
        const float* x_now = in + (once ? 0 : t * count) + first;
        float* y_now = out + t * count + first;
        const auto fire = [&](size_t i, size_t n, const RowSteps& own) {
          kernels_.time.fire(x_now + i, y_now + i, n, own, decision_,
                             {reset_, resting_, kept + i, kept + size + i});
        };
        expanded ? fire(0, size, expanded->get()) : rows.each(first, size, fire);
      }
    });
  }

  std::string label_;
  TimeAxis axis_;
  Reads reads_;
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

// In place, of as many timesteps as are read: at every entry a timestep is read before what takes
// its memory is written.
std::unique_ptr<Operation> operation(const std::string& name, std::vector<Input> inputs,
                                     Operation::Maker make, Reads reads = Reads::kEveryTimestep) {
  const bool once = reads == Reads::kOneForAll;
  const auto infer = [once](Inference& inference) {
    KnownShape shape = inference.input(0);
    if (once && !shape.dims.empty()) {
      const bool known = shape.dims[0] >= 0;
      shape.dims[0] = known ? shape.dims[0] * inference.integer("timesteps", 1) : -1;
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
