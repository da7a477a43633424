// Two operands whose shapes broadcast against each other, as ONNX has it.
#pragma once

#include <algorithm>

#include "op.hpp"

namespace snnc {

// The entries of both operands that meet, in rows along which each either moves or stays.
class Broadcast {
 public:
  // Refuses shapes that do not broadcast.
  Broadcast(const Shape& a, const Shape& b);
  const Shape& shape() const { return shape_; }
  // Whether an operand has an entry for each of a row, else one for all.
  bool a_each() const { return axes_[0].a_stride != 0; }
  bool b_each() const { return axes_[0].b_stride != 0; }
  // visit(i, n, a, b) for the n results from first + i on that lie in one row, of `size` results;
  // a, b: the places of their first operands.
  template <class Visit>
  void each(size_t first, size_t size, const Visit& visit) const {
    for (size_t i = 0; i < size;) {
      const size_t row = (first + i) / axes_[0].size, column = (first + i) % axes_[0].size;
      const size_t n = std::min(axes_[0].size - column, size - i);
      const Places places = row_places(row);
      visit(i, n, places.a + (a_each() ? column : 0), places.b + (b_each() ? column : 0));
      i += n;
    }
  }

 private:
  // Neighbouring axes along which the operands behave alike; a stride of 0 where one stays.
  struct Axis {
    size_t size, a_stride, b_stride;
  };
  struct Places {
    size_t a, b;
  };
  Places row_places(size_t row) const;

  Shape shape_;
  std::array<Axis, kMaxRank> axes_{};  // the last of the shape first
  size_t rank_ = 0;
};

// What is known of the result's shape before it runs. apart: how many of the last axes do not
// broadcast; they are those of the operand with more axes.
KnownShape broadcast(const KnownShape& a, const KnownShape& b, size_t apart);

// A float of the shape that the two inputs broadcast to.
void infer_broadcast(Inference& inference);

}  // namespace snnc
