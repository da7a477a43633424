// Neurons that fire at most once, and products of two values of spike times, as operations.
#pragma once

#include <algorithm>

#include "kernels.hpp"
#include "op.hpp"

namespace snnc {

struct ValueRange {
  float low, high;
};

// Two attributes; refuses what is no range of finite numbers.
ValueRange value_range(const NodeInfo& info, const char* low, const char* high);

// The window for a range of potentials, from the attributes ticks and early, which it checks.
SpikeWindow spike_window(const NodeInfo& info, ValueRange range);

// A kernel whose errors at a run say which node it is.
class LabelledKernel : public Kernel {
 public:
  explicit LabelledKernel(const NodeInfo& info) : label_(info.label()) {}
  void compute(const Run& run) const final;

 protected:
  virtual void run_node(const Run& run) const = 0;

  const Kernels& kernels_ = active_kernels();

 private:
  std::string label_;
};

// task(first, n) for blocks of `count` results, over onnxruntime's threads.
template <class Task>
void over_results(const Run& run, size_t count, const Task& task) {
  constexpr size_t kBlock = 1 << 14;
  run.parallel((count + kBlock - 1) / kBlock, [&](size_t i) {
    task(i * kBlock, std::min(kBlock, count - i * kBlock));
  });
}

void add_spike_time_operations(Operations& operations);
void add_quarter_square_operations(Operations& operations);

}  // namespace snnc
