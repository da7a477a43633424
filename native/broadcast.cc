#include "broadcast.hpp"

namespace snnc {
namespace {

size_t size_at(const Shape& shape, size_t axis, size_t rank) {
  const size_t missing = rank - shape.rank();
  return axis < missing ? 1 : static_cast<size_t>(shape[axis - missing]);
}

// The size that two sizes broadcast to; unknown and nameless where that depends on the run.
void broadcast_axis(KnownShape& to, size_t axis, int64_t size, const std::string& symbol) {
  const int64_t own = to.dims[axis];
  if (size == 1 || (own == size && to.symbols[axis] == symbol) || (own > 1 && size < 0)) return;
  const bool takes_other = own == 1 || (own < 0 && size > 1);
  to.dims[axis] = takes_other ? size : -1;
  to.symbols[axis] = takes_other ? symbol : "";
}

}  // namespace

Broadcast::Broadcast(const Shape& a, const Shape& b) : shape_(a.rank() < b.rank() ? b : a) {
  size_t a_stride = 1, b_stride = 1;
  for (size_t axis = shape_.rank(); axis-- > 0;) {
    const size_t a_size = size_at(a, axis, shape_.rank()), b_size = size_at(b, axis, shape_.rank());
    if (a_size != b_size && a_size != 1 && b_size != 1)
      throw Error("operands of shapes " + a.text() + " and " + b.text() + " do not broadcast");
    const size_t size = a_size == 1 ? b_size : a_size;
    shape_[axis] = static_cast<int64_t>(size);
    if (size == 1) continue;
    const Axis next{size, a_size == 1 ? 0 : a_stride, b_size == 1 ? 0 : b_stride};
    a_stride *= a_size;
    b_stride *= b_size;
    Axis* last = rank_ ? &axes_[rank_ - 1] : nullptr;
    if (last && !last->a_stride == !next.a_stride && !last->b_stride == !next.b_stride)
      last->size *= size;
    else
      axes_[rank_++] = next;
  }
  if (rank_ == 0) axes_[rank_++] = {1, 1, 1};
}

Broadcast::Places Broadcast::row_places(size_t row) const {
  Places places{0, 0};
  for (size_t axis = 1; axis < rank_; ++axis) {
    const size_t i = row % axes_[axis].size;
    places.a += i * axes_[axis].a_stride;
    places.b += i * axes_[axis].b_stride;
    row /= axes_[axis].size;
  }
  return places;
}

KnownShape broadcast(const KnownShape& a, const KnownShape& b, size_t apart) {
  const bool a_longer = a.dims.size() >= b.dims.size();
  const KnownShape& shorter = a_longer ? b : a;
  KnownShape shape = a_longer ? a : b;
  const size_t rank = shape.dims.size(), missing = rank - shorter.dims.size();
  for (size_t axis = missing; axis + apart < rank; ++axis)
    broadcast_axis(shape, axis, shorter.dims[axis - missing], shorter.symbols[axis - missing]);
  return shape;
}

void infer_broadcast(Inference& inference) {
  const KnownShape a = inference.input(0), b = inference.input(1);
  if (a.dims.empty() || b.dims.empty()) return;  // of unknown rank, perhaps
  inference.output(broadcast(a, b, 0), {ort::kFloat32});
}

}  // namespace snnc
