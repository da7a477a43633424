#include <algorithm>
#include <cstring>

#include "conv_geometry.hpp"
#include "conv_ops.hpp"
#include "packed_weights.hpp"

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

// y = x * w + bias, floats of one group, channels first; weights of silent inputs are not read.
class FloatConv : public FusedKernel {
 public:
  FloatConv(const Fusion& fusion, const NodeInfo& info)
      : FusedKernel(fusion, info, 3), attributes_(conv_attributes(info)) {
    if (attributes_.group != 1)
      info.refuse("group must be 1, not " + std::to_string(attributes_.group));
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

 private:
  const EventConvKernels& events() const { return kernels_.event_conv; }

  void run_drive(const Run& run) const override {
    const Tensor x = run.input(0), w = run.input(1);
    const EventConv conv{conv_geometry(attributes_, x.shape, w.shape, Layout::kChannelsFirst),
                         is_window(attributes_, w.shape)};
    const ColumnValues bias(run.input(2), conv.shape.outputs, "bias");
    const Shape result = conv_result(conv.shape, x.shape, Layout::kChannelsFirst);
    const FusedRun fused = open(run, result);
    if (result.count() == 0) return;
    const auto* weights = static_cast<const float*>(weights_.get());
    if (weights == nullptr) {
      auto* packed = static_cast<float*>(scratch(events().weights(conv) * sizeof(float), 0));
      events().pack(conv, w.as<float>(), packed);
      weights = packed;
    }
    convolve(run, conv, x.as<float>(), weights, bias.data(), static_cast<float*>(fused.result));
  }

  // Tasks are images, or some rows of one where there are few.
  void convolve(const Run& run, const EventConv& conv, const float* x, const float* weights,
                const float* bias, float* y) const {
    const ConvShape& shape = conv.shape;
    const size_t inputs = shape.channels * shape.y.input * shape.x.input;
    const size_t outputs = shape.outputs * shape.y.output * shape.x.output;
    const size_t parts = std::min(parts_of(kTasks, shape.batch), shape.y.output);
    run.parallel(shape.batch * parts, [&](size_t task) {
      const size_t image = task / parts;
      const Part rows = part_of(shape.y.output, parts, task % parts);
      events().convolve(conv, x + image * inputs, weights, bias, rows.begin, rows.end,
                        y + image * outputs, memory_of(conv, rows));
    });
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

  ConvAttributes attributes_;
  Memory weights_;
};

}  // namespace

// Lowering fuses nothing behind it: only the drive itself is registered.
void add_float_conv_operations(Operations& operations) {
  static const Fusion alone{"", false, Activation::kNone, nullptr, false};
  add_fused_operation<FloatConv>(
      operations, "FloatConv", {{ort::kFloat32}, {ort::kFloat32}, {ort::kFloat32}},
      [](Inference& inference, const std::vector<ort::ElementType>& types) {
        infer_conv(inference, types, Layout::kChannelsFirst);
      },
      alone);
}

}  // namespace snnc
