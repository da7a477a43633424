#include "conv_ops.hpp"

#include "conv_work.hpp"
#include "fused.hpp"

namespace snnc {
namespace {

// What the zero point of the inputs adds to the sums of each output channel.
std::vector<int32_t> corrections(const Tensor& w, uint8_t zero_point) {
  const auto channels = static_cast<size_t>(w.shape[0]), each = w.shape.count() / channels;
  std::vector<int32_t> result(channels);
  for (size_t o = 0; o < channels; ++o) {
    uint32_t sum = 0;  // modulo 2^32, as sums of products are
    for (size_t i = 0; i < each; ++i)
      sum += static_cast<uint32_t>(w.as<int8_t>()[o * each + i]);
    result[o] = static_cast<int32_t>(-sum * zero_point);
  }
  return result;
}

// y = float(sum (x - zero_point) w) * scale + bias, x counts and w int8, with its fusion.
class SpikeConv : public FusedKernel {
 public:
  SpikeConv(const Fusion& fusion, const NodeInfo& info)
      : FusedKernel(fusion, info, 4),
        attributes_(conv_attributes(info)),
        zero_point_(zero_point_of(info)) {
    const std::optional<Tensor> w = info.constant(1);
    if (!w) return;
    try {
      weights_.emplace(kernels_, attributes_, *w, zero_point_);
    } catch (const Error& error) {
      info.refuse(error.what());
    }
  }

 private:
  struct Weights {
    PackedConvWeights packed;
    std::vector<int32_t> correction;
    Weights(const Kernels& kernels, const ConvAttributes& attributes, const Tensor& w,
            uint8_t zero_point)
        : packed(kernels.count_conv, weight_geometry(attributes, w.shape), w.data),
          correction(corrections(w, zero_point)) {}
  };

  static uint8_t zero_point_of(const NodeInfo& info) {
    const int64_t zero_point = info.integer("zero_point");
    if (zero_point != 0 && zero_point != 128)
      info.refuse("zero_point must be 0 or 128, not " + std::to_string(zero_point));
    return static_cast<uint8_t>(zero_point);
  }

  void run_drive(const Run& run) const override {
    const Tensor x = run.input(0), w = run.input(1);
    const ConvShape conv = conv_geometry(attributes_, x.shape, w.shape);
    const size_t channels = conv.groups * conv.outputs;
    const std::vector<float> scale = channel_values(run.input(2), channels, "scale");
    const std::vector<float> bias = channel_values(run.input(3), channels, "bias");
    const Shape shape = conv_result(conv, x.shape);
    const FusedRun fused = open(run, shape);
    if (shape.count() == 0) return;
    std::optional<Weights> own;
    if (!weights_) own.emplace(kernels_, attributes_, w, zero_point_);
    const Weights& weights = weights_ ? *weights_ : *own;
    ConvFinish finish{};
    finish.scale = scale.data();
    finish.correction = weights.correction.data();
    finish.bias = bias.data();
    finish.addend = fused.addend;
    finish.gelu = gelu();
    finish.decision = fused.decision;
    finish.steps = &fused.steps;
    if (fused.decision)
      finish.counts = static_cast<uint8_t*>(fused.result);
    else
      finish.values = static_cast<float*>(fused.result);
    run_conv(run, kernels_.count_conv, conv, {x.data, zero_point_}, weights.packed, finish);
  }

  ConvAttributes attributes_;
  uint8_t zero_point_;
  std::optional<Weights> weights_;
};

// What follows a float convolution: [Add][Gelu][<neuron>], spikes as floats.
struct FloatFusion {
  bool add, gelu;
  const NeuronName* neuron;  // none: the drive itself is the result
  std::string name() const {
    return std::string("FloatConv") + (add ? "Add" : "") + (gelu ? "Gelu" : "") +
           (neuron ? neuron->text : "");
  }
  std::vector<Input> inputs() const {
    std::vector<Input> inputs(3 + add, {ort::kFloat32});
    if (neuron)
      for (const Input& step : living_step_inputs(*neuron)) inputs.push_back(step);
    return inputs;
  }
};

// y = sum x w + bias [+ addend] [Gelu]; neurons behind it have one step, or one for each channel.
class FloatConv : public Kernel {
 public:
  FloatConv(const FloatFusion& fusion, const NodeInfo& info)
      : fusion_(fusion),
        label_(info.label()),
        attributes_(conv_attributes(info)) {
    if (fusion.neuron) decision_ = decision_of(*fusion.neuron, info, false);
    const std::optional<Tensor> w = info.constant(1);
    if (!w) return;
    try {
      weights_.emplace(kernels_.float_conv, weight_geometry(attributes_, w->shape), w->data);
    } catch (const Error& error) {
      info.refuse(error.what());
    }
  }

  void compute(const Run& run) const override {
    try {
      compute_unlabelled(run);
    } catch (const Error& error) {
      throw Error(label_ + ": " + error.what());
    }
  }

 private:
  void compute_unlabelled(const Run& run) const {
    const Tensor x = run.input(0), w = run.input(1);
    const ConvShape conv = conv_geometry(attributes_, x.shape, w.shape);
    const size_t channels = conv.groups * conv.outputs;
    const Shape shape = conv_result(conv, x.shape);
    const std::vector<float> bias = channel_values(run.input(2), channels, "bias");
    ConvFinish finish{};
    finish.bias = bias.data();
    finish.addend = fusion_.add ? addend(run, shape) : nullptr;
    finish.gelu = fusion_.gelu;
    std::optional<Steps> steps;
    std::vector<RowSteps> rows;
    if (fusion_.neuron) {
      steps.emplace(living_steps(*fusion_.neuron, 3 + fusion_.add,
                                 [&](size_t i) { return run.input(i); }));
      rows = channel_steps(*steps, shape);
      finish.decision = &*decision_;
      finish.steps = rows.data();
      finish.channel_steps = rows.size() > 1;
    }
    finish.values = run.output<float>(shape);
    if (shape.count() == 0) return;
    std::optional<PackedConvWeights> own;
    if (!weights_) own.emplace(kernels_.float_conv, conv, w.data);
    run_conv(run, kernels_.float_conv, conv, {x.data, 0}, weights_ ? *weights_ : *own, finish);
  }

  // The one step of all neurons, or that of each output channel.
  static std::vector<RowSteps> channel_steps(const Steps& steps, const Shape& result) {
    if (steps.single()) return {steps.row(0, false)};
    const Shape& shape = steps.shape();
    const size_t count = shape.count(), spatial = result.rank() - 2;
    if (count != static_cast<size_t>(result[1]) || shape.rank() <= spatial ||
        static_cast<size_t>(shape[shape.rank() - spatial - 1]) != count)
      throw Error("steps must be single numbers or one for each output channel, not of shape " +
                  shape.text());
    std::vector<RowSteps> rows;
    for (size_t o = 0; o < count; ++o) rows.push_back(steps.row(o, false));
    return rows;
  }

  static const float* addend(const Run& run, const Shape& shape) {
    const Tensor addend = run.input(3);
    if (!(addend.shape == shape))
      throw Error("the addend is of shape " + addend.shape.text() +
                  ", not of the result's shape " + shape.text());
    return addend.as<float>();
  }

  FloatFusion fusion_;
  std::string label_;
  ConvAttributes attributes_;
  std::optional<Decision> decision_;
  const Kernels& kernels_ = active_kernels();
  std::optional<PackedConvWeights> weights_;
};

// The result may take the memory of the addend, as a residual that nothing else reads.
size_t addend_in_place(int** inputs, int** outputs) {
  static int addend = 3, result = 0;
  *inputs = &addend;
  *outputs = &result;
  return 1;
}

void add_float_conv(Operations& operations, const FloatFusion& fusion) {
  auto operation = std::make_unique<Operation>(
      fusion.name(), fusion.inputs(), ort::kFloat32,
      [fusion](const NodeInfo& info) { return std::make_unique<FloatConv>(fusion, info); },
      [](Inference& inference) { infer_conv(inference, ort::kFloat32); });
  if (fusion.add) {
    operation->get_may_inplace = addend_in_place;
    operation->release_may_inplace = [](int*, int*) {};
  }
  operations.push_back(std::move(operation));
}

}  // namespace

void add_conv_operations(Operations& operations) {
  add_fused_operations<SpikeConv>(
      operations, "SpikeConv",
      {{ort::kUint8}, {ort::kInt8}, {ort::kFloat32}, {ort::kFloat32}}, infer_conv);
  for (const bool add : {false, true})
    for (const bool gelu : {false, true}) {
      add_float_conv(operations, {add, gelu, nullptr});
      for (const NeuronName& neuron : neuron_names())
        add_float_conv(operations, {add, gelu, &neuron});
    }
}

}  // namespace snnc
