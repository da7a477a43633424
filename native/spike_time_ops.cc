#include "spike_time_ops.hpp"

#include <cmath>

#include "broadcast.hpp"

namespace snnc {
namespace {

constexpr int64_t kMostTicks = 1 << 16;  // float32 tells them apart

class TimeToFirstSpike : public LabelledKernel {
 public:
  explicit TimeToFirstSpike(const NodeInfo& info)
      : LabelledKernel(info), window_(spike_window(info, value_range(info, "low", "high"))) {}

 private:
  void run_node(const Run& run) const override {
    const Tensor x = run.input(0);
    const float* in = x.as<float>();
    float* out = run.output<float>(x.shape);
    over_results(run, x.shape.count(), [&](size_t first, size_t n) {
      kernels_.spike_times.fire(in + first, out + first, n, window_);
    });
  }

  SpikeWindow window_;
};

// Silent where the second input is false.
class GatedTimeToFirstSpike : public LabelledKernel {
 public:
  explicit GatedTimeToFirstSpike(const NodeInfo& info)
      : LabelledKernel(info), window_(spike_window(info, value_range(info, "low", "high"))) {}

 private:
  void run_node(const Run& run) const override {
    const Tensor x = run.input(0), alive = run.input(1);
    const Broadcast meeting(x.shape, alive.shape);
    const float* in = x.as<float>();
    const bool* gates = alive.as<bool>();
    float* out = run.output<float>(meeting.shape());
    over_results(run, meeting.shape().count(), [&](size_t first, size_t size) {
      meeting.each(first, size, [&](size_t i, size_t n, size_t at, size_t gate) {
        fire(meeting, in + at, gates + gate, out + first + i, n);
      });
    });
  }

  void fire(const Broadcast& meeting, const float* x, const bool* alive, float* y, size_t n) const {
    if (meeting.b_each())
      kernels_.spike_times.fire_gated({x, meeting.a_each()}, alive, y, n, window_);
    else if (*alive)
      kernels_.spike_times.fire(x, y, n, window_);
    else
      std::fill_n(y, n, window_.low);
  }

  SpikeWindow window_;
};

template <class Neurons>
void add_neurons(Operations& operations, const char* name, std::vector<Input> inputs,
                 Operation::Inferrer infer) {
  constexpr int kFirstInput = 0;  // of as many numbers as the result, or onnxruntime leaves it
  operations.push_back(std::make_unique<Operation>(
      name, std::move(inputs), std::vector<ort::ElementType>{ort::kFloat32},
      [](const NodeInfo& info) { return std::make_unique<Neurons>(info); }, std::move(infer),
      kFirstInput));
}

}  // namespace

ValueRange value_range(const NodeInfo& info, const char* low, const char* high) {
  const ValueRange range{info.number(low), info.number(high)};
  if (!std::isfinite(range.low) || !std::isfinite(range.high) || !(range.low < range.high))
    info.refuse(std::string(low) + " and " + high + " must be finite and the first the smaller, not " +
                std::to_string(range.low) + " and " + std::to_string(range.high));
  return range;
}

SpikeWindow spike_window(const NodeInfo& info, ValueRange range) {
  const int64_t ticks = info.integer("ticks");
  if (ticks < 1 || ticks > kMostTicks)
    info.refuse("ticks must be from 1 to " + std::to_string(kMostTicks) + ", not " +
                std::to_string(ticks));
  const float early = info.number("early");
  if (!(early >= 0 && early < 1))
    info.refuse("early must be from 0 to below 1, not " + std::to_string(early));
  const float width = range.high - range.low, count = static_cast<float>(ticks);
  if (!std::isfinite(width)) info.refuse("the range of its neurons is too wide for float32");
  return {range.low, count / width, width / count, count, early};
}

void LabelledKernel::compute(const Run& run) const {
  try {
    run_node(run);
  } catch (const Error& error) {
    throw Error(label_ + ": " + error.what());
  }
}

void add_spike_time_operations(Operations& operations) {
  add_neurons<TimeToFirstSpike>(
      operations, "TimeToFirstSpike", {{ort::kFloat32}},
      [](Inference& inference) { inference.output(inference.input(0), {ort::kFloat32}); });
  add_neurons<GatedTimeToFirstSpike>(operations, "GatedTimeToFirstSpike",
                                     {{ort::kFloat32}, {ort::kBool}}, infer_broadcast);
}

}  // namespace snnc
