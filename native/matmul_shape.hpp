// Batches of matrices that multiply: MatMul of operands of rank 2 and more.
#pragma once

#include <algorithm>

#include "op.hpp"

namespace snnc {

// Axes before the last two, as one matrix each; one of size 1 serves for all.
class Batch {
 public:
  Batch(const Shape& a, const Shape& b) {
    rank_ = std::max(a.rank(), b.rank()) - 2;
    size_t a_stride = 1, b_stride = 1;
    for (size_t axis = rank_; axis-- > 0;) {
      const size_t a_size = size(a, axis), b_size = size(b, axis);
      if (a_size != b_size && a_size != 1 && b_size != 1)
        throw Error("batches of shapes " + a.text() + " and " + b.text() + " do not broadcast");
      sizes_[axis] = a_size == 1 ? b_size : a_size;
      a_strides_[axis] = a_size == 1 ? 0 : a_stride;
      b_strides_[axis] = b_size == 1 ? 0 : b_stride;
      a_stride *= a_size;
      b_stride *= b_size;
    }
    a_count_ = a_stride;
    b_count_ = b_stride;
  }
  size_t rank() const { return rank_; }
  size_t size(size_t axis) const { return sizes_[axis]; }
  size_t a_count() const { return a_count_; }
  size_t b_count() const { return b_count_; }
  size_t count() const {
    size_t n = 1;
    for (size_t axis = 0; axis < rank_; ++axis) n *= sizes_[axis];
    return n;
  }
  size_t a(size_t item) const { return place(item, a_strides_); }
  size_t b(size_t item) const { return place(item, b_strides_); }

 private:
  using Sizes = std::array<size_t, kMaxRank>;

  size_t size(const Shape& shape, size_t axis) const {
    const size_t missing = rank_ + 2 - shape.rank();
    return axis < missing ? 1 : static_cast<size_t>(shape[axis - missing]);
  }
  size_t place(size_t item, const Sizes& strides) const {
    size_t place = 0;
    for (size_t axis = rank_; axis-- > 0;) {
      place += item % sizes_[axis] * strides[axis];
      item /= sizes_[axis];
    }
    return place;
  }

  size_t rank_, a_count_, b_count_;
  Sizes sizes_{}, a_strides_{}, b_strides_{};
};

// One matrix of a batch each: a [rows, k], b [k, columns] or [columns, k] where transposed.
struct MatrixSizes {
  size_t rows, k, columns;
};

// Refuses operands that do not multiply.
MatrixSizes matrix_sizes(const Shape& a, const Shape& b, bool transposed);
Shape matmul_shape(const Batch& batch, const MatrixSizes& sizes);
// Reads the attribute trans_b where there is one.
void infer_matmul(Inference& inference, const std::vector<ort::ElementType>& types);

}  // namespace snnc
