#include "steps.hpp"

#include <algorithm>
#include <cmath>

namespace snnc {
namespace {

// unit / step in float32; 0 where that is no positive finite number (specification 0.5).
float inverse_of(float step, float unit) {
  const float inverse = unit / step;
  return step > 0 && std::isfinite(inverse) ? inverse : 0.0f;
}

// Size along an axis counted from the last one; axes that are missing have one entry.
int64_t size_from_end(const Shape& shape, size_t axis) {
  return axis < shape.rank() ? shape[shape.rank() - 1 - axis] : 1;
}

Shape broadcast(const Shape& a, const Shape& b) {
  const size_t rank = std::max(a.rank(), b.rank());
  int64_t dims[kMaxRank];
  for (size_t axis = 0; axis < rank; ++axis) {
    const int64_t left = size_from_end(a, axis), right = size_from_end(b, axis);
    if (left != right && left != 1 && right != 1)
      throw Error("steps of shapes " + a.text() + " and " + b.text() + " do not broadcast");
    dims[rank - 1 - axis] = left == 1 ? right : left;
  }
  return Shape(dims, rank);
}

std::vector<float> expanded(const std::optional<Tensor>& tensor, const Shape& shape) {
  const size_t count = shape.count();
  std::vector<float> values(count, 0.0f);
  for (size_t i = 0; tensor && i < count; ++i) {
    size_t rest = i, place = 0, stride = 1;
    for (size_t axis = 0; axis < shape.rank(); ++axis) {
      const auto size = static_cast<size_t>(size_from_end(shape, axis));
      const auto own = static_cast<size_t>(size_from_end(tensor->shape, axis));
      if (own > 1) place += rest % size * stride;
      stride *= own;
      rest /= size;
    }
    values[i] = tensor->as<float>()[place];
  }
  return values;
}

std::vector<float> inverses(const std::vector<float>& steps, float unit) {
  std::vector<float> values(steps.size());
  std::transform(steps.begin(), steps.end(), values.begin(),
                 [unit](float step) { return inverse_of(step, unit); });
  return values;
}

}  // namespace

Steps::Steps(const StepTensors& tensors, float unit) {
  if (tensors.positive) shape_ = tensors.positive->shape;
  if (tensors.negative) shape_ = broadcast(shape_, tensors.negative->shape);
  positive_ = expanded(tensors.positive, shape_);
  negative_ = expanded(tensors.negative, shape_);
  positive_inverse_ = inverses(positive_, unit);
  negative_inverse_ = inverses(negative_, unit);
}

void StepMemory::set(size_t to, const RowSteps& steps, size_t n) {
  float* row = memory_ + to;
  for (const float* from :
       {steps.positive_inverse, steps.negative_inverse, steps.positive, steps.negative}) {
    if (steps.each_input)
      std::copy_n(from, n, row);
    else
      std::fill_n(row, n, *from);
    row += n_;
  }
}

StepRows::StepRows(const Shape& x, const Steps& steps) : steps_(steps), x_(x) {
  const Shape& shape = steps.shape();
  bool fits = shape.rank() <= x.rank();
  size_t stride = 1;
  for (size_t from_end = 0; fits && from_end < shape.rank(); ++from_end) {
    const size_t axis = x.rank() - 1 - from_end;
    const int64_t size = size_from_end(shape, from_end);
    fits = size == 1 || size == x[axis];
    if (size != 1) {
      strides_[axis] = stride;
      outer_ = std::max(outer_, axis + 1);
    }
    stride *= static_cast<size_t>(size);
  }
  if (!fits)
    throw Error("steps of shape " + shape.text() + " do not broadcast to inputs of shape " +
                x.text());
  each_input_ = outer_ > 0 && outer_ == x.rank();
  if (each_input_) --outer_;
  length_ = x.count(outer_, x.rank());
}

size_t StepRows::place(size_t row) const {
  size_t place = 0;
  for (size_t axis = outer_; axis-- > 0;) {
    const auto size = static_cast<size_t>(x_[axis]);
    place += row % size * strides_[axis];
    row /= size;
  }
  return place;
}

}  // namespace snnc
