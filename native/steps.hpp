// The steps of a neuron's two signs, and where each input's steps lie.
#pragma once

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

// An input as rows that share one step, or of which each entry has its own.
class StepRows {
 public:
  // Refuses steps that do not broadcast to the input's shape.
  StepRows(const Shape& x, const Steps& steps);
  size_t length() const { return length_; }
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
