#include <algorithm>
#include <cstring>

#include "conv_geometry.hpp"
#include "conv_ops.hpp"
#include "packed_weights.hpp"
#include "time_blocks.hpp"

namespace snnc {
namespace {

constexpr size_t kTasks = 16;  // wanted, where there are fewer images

// Whether every input reaches a window of outputs around it.
bool is_window(const ConvAttributes& a, const Shape& w) {
  const auto all = [](const std::vector<int64_t>& given, auto holds) {
    return std::all_of(given.begin(), given.end(), holds);
  };
  const auto one = [](int64_t n) { return n == 1; };
  return w.rank() == 4 && w[2] == 3 && w[3] == 3 && all(a.strides, one) && all(a.dilations, one) &&
         all(a.pads, [](int64_t n) { return n <= 2; });
}

// Events are numbered in 32 bits.
void check_size(const ConvShape& shape) {
  const size_t places = shape.y.input * shape.x.input;
  if (places > UINT32_MAX / shape.channels)
    throw Error("an image of " + std::to_string(shape.channels) + " channels of " +
                std::to_string(places) + " places is too large");
}

// What follows the sums at every timestep, as part of the operation's name.
enum class Behind { kNothing, kNeuron, kMean, kRectifiedMean };

struct Ending {
  Behind behind;
  const NeuronName* neuron;

  std::string suffix() const {
    if (neuron) return neuron->text + "OverTime";
    return behind == Behind::kMean ? "Mean" : behind == Behind::kRectifiedMean ? "MeanRelu" : "";
  }
};

constexpr size_t kFirstStep = 3;  // among the inputs

// Neurons behind a layer, with steps that are brought to one shape once where they are constant.
class NeuronsBehind {
 public:
  NeuronsBehind(const NeuronName& name, const NodeInfo& info) : name_(name), kind_(name, info) {
    const StepTensors tensors =
        living_steps(name, kFirstStep, [&](size_t i) { return info.constant(i); });
    if (bool(tensors.positive) == name.positive() && bool(tensors.negative) == name.negative())
      constant_.emplace(tensors, kind_.decision().unit);
  }
  const MembraneKind& kind() const { return kind_; }
  // use(steps) with those of a run.
  template <class Use>
  void with(const Run& run, const Use& use) const {
    if (constant_) return use(*constant_);
    use(Steps(living_steps(name_, kFirstStep, [&](size_t i) { return run.optional(i); }),
              kind_.decision().unit));
  }

 private:
  const NeuronName& name_;
  MembraneKind kind_;
  std::optional<Steps> constant_;
};

// y = x * w + bias, floats of one group, channels first; weights of silent inputs are not read.
// Several timesteps where something follows that keeps a state over them.
class FloatConv : public Kernel {
 public:
  FloatConv(const Ending& ending, const NodeInfo& info)
      : label_(info.label()), attributes_(conv_attributes(info)), behind_(ending.behind) {
    if (attributes_.group != 1)
      info.refuse("group must be 1, not " + std::to_string(attributes_.group));
    if (behind_ != Behind::kNothing) axis_.emplace(info);
    if (ending.neuron) neurons_.emplace(*ending.neuron, info);
    const std::optional<Tensor> w = info.constant(1);
    if (!w) return;
    try {
      const EventConv conv{weight_geometry(attributes_, w->shape), is_window(attributes_, w->shape)};
      weights_ = aligned_memory(events().weights(conv) * sizeof(float));
      events().pack(conv, w->as<float>(), static_cast<float*>(weights_.get()));
    } catch (const Error& error) {
      info.refuse(error.what());
    }
  }

  void compute(const Run& run) const override {
    try {
      convolve(run);
    } catch (const Error& error) {
      throw Error(label_ + ": " + error.what());
    }
  }

 private:
  // A run's convolution of images, each [O][y][x].
  struct Images {
    EventConv conv;
    const float *x, *weights, *bias;
    float* y;
    size_t inputs() const { return conv.shape.channels * conv.shape.y.input * conv.shape.x.input; }
    size_t outputs() const {
      return conv.shape.outputs * conv.shape.y.output * conv.shape.x.output;
    }
    float* image(size_t i) const { return y + i * outputs(); }
  };

  const EventConvKernels& events() const { return kernels_.event_conv; }

  void convolve(const Run& run) const {
    const Tensor x = run.input(0), w = run.input(1);
    const EventConv conv{conv_geometry(attributes_, x.shape, w.shape, Layout::kChannelsFirst),
                         is_window(attributes_, w.shape)};
    check_size(conv.shape);
    const ColumnValues bias(run.input(2), conv.shape.outputs, "bias");
    const Shape result = conv_result(conv.shape, x.shape, Layout::kChannelsFirst);
    const Shape timestep = axis_ ? axis_->unfolded(result) : result;
    auto* y = run.output<float>(result);
    if (result.count() == 0) return;
    const auto* weights = static_cast<const float*>(weights_.get());
    if (weights == nullptr) {
      auto* packed = static_cast<float*>(scratch(events().weights(conv) * sizeof(float), 0));
      events().pack(conv, w.as<float>(), packed);
      weights = packed;
    }
    const Images images{conv, x.as<float>(), weights, bias.data(), y};
    if (!neurons_)
      return over_time(run, images, [&](size_t, size_t size) {
        return MeanBlock(kernels_.time, size, behind_ == Behind::kRectifiedMean);
      });
    neurons_->with(run, [&](const Steps& steps) {
      const StepRows rows(timestep, steps);
      over_time(run, images, [&](size_t first, size_t size) {
        return NeuronBlock(kernels_.time, neurons_->kind(), rows, first, size);
      });
    });
  }

  // make_block(first, size): what some entries of one timestep go through. Where there are many
  // samples each is a task, which takes it through all timesteps while it is in the cache.
  template <class MakeBlock>
  void over_time(const Run& run, const Images& images, const MakeBlock& make_block) const {
    const ConvShape& shape = images.conv.shape;
    const size_t timesteps = axis_ ? axis_->timesteps() : 1, samples = shape.batch / timesteps;
    const size_t outputs = images.outputs(), count = samples * outputs;
    if (axis_ && samples >= kTasks)
      return run.parallel(samples, [&](size_t sample) {
        auto block = make_block(sample * outputs, outputs);
        for (size_t image = sample; image < shape.batch; image += samples) {
          const size_t next = image + samples < shape.batch ? samples : 0;
          convolve_rows(images, image, {0, shape.y.output},
                        {next * images.inputs(), next * outputs});
          block.next(images.image(image), images.image(image));
        }
      });
    const size_t parts = std::min(parts_of(kTasks, shape.batch), shape.y.output);
    run.parallel(shape.batch * parts, [&](size_t task) {
      convolve_rows(images, task / parts, part_of(shape.y.output, parts, task % parts));
    });
    if (!axis_) return;
    over_blocks(run, count, [&](size_t first, size_t size) {
      auto block = make_block(first, size);
      for (float* now = images.y + first; now < images.y + timesteps * count; now += count)
        block.next(now, now);
    });
  }

  void convolve_rows(const Images& images, size_t image, const Part& rows,
                     const Ahead& ahead = {}) const {
    EventMemory memory = memory_of(images.conv, rows);
    memory.ahead = ahead;
    events().convolve(images.conv, images.x + image * images.inputs(), images.weights, images.bias,
                      rows.begin, rows.end, images.image(image), memory);
  }

  EventMemory memory_of(const EventConv& conv, const Part& part) const {
    const ConvShape& shape = conv.shape;
    const size_t rows = conv.last_input(part.end) - conv.first_input(part.begin);
    const size_t places = shape.x.input, inputs = places * shape.channels;
    const size_t of_row = inputs + kEventPadding, count = rows * of_row;
    auto* values = static_cast<float*>(scratch(2 * count * sizeof(float), 1));
    auto* index = reinterpret_cast<uint32_t*>(values + count);
    auto* begin = static_cast<uint32_t*>(
        scratch((rows * (places + 1) + of_row) * sizeof(uint32_t), 2));
    auto* fired = static_cast<uint16_t*>(
        scratch((shape.channels + kFiredPadding) * sizeof(uint16_t), 3));
    auto* taps = static_cast<TapRow*>(scratch(shape.y.kernel * sizeof(TapRow), 4));
    auto* sums = static_cast<float*>(scratch(events().sums(conv) * sizeof(float), 5));
    return {{values, index, begin}, inputs, places, begin + rows * (places + 1), fired, taps, sums};
  }

  std::string label_;
  ConvAttributes attributes_;
  Behind behind_;
  std::optional<TimeAxis> axis_;
  std::optional<NeuronsBehind> neurons_;
  Memory weights_;
  const Kernels& kernels_ = active_kernels();
};

std::vector<Ending> endings() {
  std::vector<Ending> all;
  for (const Behind behind : {Behind::kNothing, Behind::kMean, Behind::kRectifiedMean})
    all.push_back({behind, nullptr});
  for (const NeuronName& name : neuron_names()) all.push_back({Behind::kNeuron, &name});
  return all;
}

}  // namespace

void add_float_conv_operations(Operations& operations) {
  for (const Ending& ending : endings()) {
    std::vector<Input> inputs(kFirstStep, {ort::kFloat32});
    if (ending.neuron)
      for (const Input& step : living_step_inputs(*ending.neuron)) inputs.push_back(step);
    operations.push_back(std::make_unique<Operation>(
        "FloatConv" + ending.suffix(), inputs, std::vector<ort::ElementType>{ort::kFloat32},
        [ending](const NodeInfo& info) { return std::make_unique<FloatConv>(ending, info); },
        [](Inference& inference) {
          infer_conv(inference, {ort::kFloat32}, Layout::kChannelsFirst);
        }));
  }
}

}  // namespace snnc
