// Blocks of entries of one timestep that go through all timesteps together.
#pragma once

#include <algorithm>

#include "time_axis.hpp"

namespace snnc {

// task(first, n) for blocks of `count` entries, over onnxruntime's threads: large ones, since memory
// is read by the page, but so that membranes stay in the second cache and several threads have work.
template <class Task>
void over_blocks(const Run& run, size_t count, const Task& task) {
  constexpr size_t kLeast = 1 << 11, kMost = 1 << 15, kTasks = 8;
  const size_t share = (count / kTasks + kLeast - 1) / kLeast * kLeast;
  const size_t block = std::clamp(share, kLeast, kMost);
  run.parallel((count + block - 1) / block, [&](size_t number) {
    const size_t first = number * block;
    task(first, std::min(block, count - first));
  });
}

// Slots of the calling thread's memory; one block at a time.
constexpr int kStateSlot = 6, kStepsSlot = 7;

// `size` neurons from `first` on, and their membranes.
class NeuronBlock {
 public:
  NeuronBlock(const TimeKernels& kernels, const MembraneKind& kind, const StepRows& rows,
              size_t first, size_t size)
      : kernels_(kernels), kind_(kind), rows_(rows), first_(first), size_(size) {
    kept_ = static_cast<float*>(scratch(2 * size * sizeof(float), kStateSlot));
    std::fill_n(kept_, 2 * size, 0.0f);
    constexpr size_t kLeastRow = 256;  // rows of one step that are shorter waste vectors
    if (rows.length() >= kLeastRow) return;
    expanded_.emplace(static_cast<float*>(scratch(StepMemory::bytes(size), kStepsSlot)), size);
    rows.each(first, size,
              [&](size_t i, size_t n, const RowSteps& steps) { expanded_->set(i, steps, n); });
  }

  // One timestep: y may be x.
  void next(const float* x, float* y) {
    const auto fire = [&](size_t i, size_t n, const RowSteps& steps) {
      kernels_.fire(x + i, y + i, n, steps, kind_.decision(),
                    kind_.at(kept_ + i, kept_ + size_ + i));
    };
    expanded_ ? fire(0, size_, expanded_->get()) : rows_.each(first_, size_, fire);
  }

 private:
  const TimeKernels& kernels_;
  const MembraneKind& kind_;
  const StepRows& rows_;
  size_t first_, size_;
  float* kept_;
  std::optional<StepMemory> expanded_;
};

// `size` means so far.
class MeanBlock {
 public:
  MeanBlock(const TimeKernels& kernels, size_t size, bool rectified = false)
      : kernels_(kernels), size_(size), rectified_(rectified) {
    sums_ = static_cast<float*>(scratch(size * sizeof(float), kStateSlot));
  }

  // One timestep: y may be x.
  void next(const float* x, float* y) {
    kernels_.add_to_mean(x, y, size_, timestep_++, sums_);
    if (rectified_) kernels_.rectify(y, size_);
  }

 private:
  const TimeKernels& kernels_;
  size_t size_;
  bool rectified_;
  float* sums_;
  size_t timestep_ = 0;
};

}  // namespace snnc
