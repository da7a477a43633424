// The steps of a neuron's two signs, and where each input's steps lie.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "kernels.hpp"
#include "op.hpp"

namespace snnc {

// Steps as tensors that broadcast against the input; an absent one is a dead branch.
struct StepTensors {
  std::optional<Tensor> positive, negative;
};

// Both signs' steps and their inverses, unit / step, brought to one shape.
class Steps {
 public:
  explicit Steps(const StepTensors& tensors, float unit = kHalfSteps);
  const Shape& shape() const { return shape_; }
  // The steps from the given place on.
  RowSteps row(size_t place, bool each_input) const {
    return {&positive_inverse_[place], &negative_inverse_[place], &positive_[place],
            &negative_[place], each_input};
  }

 private:
  Shape shape_;
  std::vector<float> positive_, negative_, positive_inverse_, negative_inverse_;
};

// Steps of some inputs one after another, each with its own: for rows that are too short for vectors.
class StepMemory {
 public:
  static size_t bytes(size_t n) { return 4 * n * sizeof(float); }
  StepMemory(float* memory, size_t n) : memory_(memory), n_(n) {}
  // Those of `n` inputs from place `to` on.
  void set(size_t to, const RowSteps& steps, size_t n);
  RowSteps get() const {
    return {memory_, memory_ + n_, memory_ + 2 * n_, memory_ + 3 * n_, true};
  }

 private:
  float* memory_;
  size_t n_;
};

// An input as rows that share one step, or of which each entry has its own.
class StepRows {
 public:
  // Refuses steps that do not broadcast to the input's shape.
  StepRows(const Shape& x, const Steps& steps);
  size_t length() const { return length_; }
  // visit(i, n, steps) for the n inputs from first + i on that lie in one row, of `size` inputs.
  template <class Visit>
  void each(size_t first, size_t size, const Visit& visit) const {
    for (size_t i = 0; i < size;) {
      const size_t column = (first + i) % length_, n = std::min(length_ - column, size - i);
      visit(i, n, steps((first + i) / length_, column));
      i += n;
    }
  }
  // The steps of a row from a column on.
  RowSteps steps(size_t row, size_t column) const {
    return steps_.row(place(row) + (each_input_ ? column : 0), each_input_);
  }

 private:
  size_t place(size_t row) const;

  const Steps& steps_;
  Shape x_;
  std::array<size_t, kMaxRank> strides_{};
  size_t outer_ = 0;  // axes of x that number the rows
  size_t length_ = 1;
  bool each_input_ = false;
};

}  // namespace snnc
