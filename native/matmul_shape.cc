#include "matmul_shape.hpp"

#include "broadcast.hpp"

namespace snnc {

MatrixSizes matrix_sizes(const Shape& a, const Shape& b, bool transposed) {
  if (a.rank() < 2 || b.rank() < 2)
    throw Error("operands must be matrices, not of shapes " + a.text() + " and " + b.text());
  const int64_t depth = b[b.rank() - (transposed ? 1 : 2)];
  if (a.back() != depth)
    throw Error("operands of shapes " + a.text() + " and " + b.text() +
                (transposed ? " (transposed)" : "") + " do not multiply");
  return {static_cast<size_t>(a[a.rank() - 2]), static_cast<size_t>(depth),
          static_cast<size_t>(b[b.rank() - (transposed ? 2 : 1)])};
}

Shape matmul_shape(const Batch& batch, const MatrixSizes& sizes) {
  int64_t dims[kMaxRank];
  for (size_t axis = 0; axis < batch.rank(); ++axis)
    dims[axis] = static_cast<int64_t>(batch.size(axis));
  dims[batch.rank()] = static_cast<int64_t>(sizes.rows);
  dims[batch.rank() + 1] = static_cast<int64_t>(sizes.columns);
  return Shape(dims, batch.rank() + 2);
}

void infer_matmul(Inference& inference, const std::vector<ort::ElementType>& types) {
  const KnownShape a = inference.input(0), b = inference.input(1);
  if (a.dims.size() < 2 || b.dims.size() < 2) return;
  const bool transposed = inference.integer("trans_b", 0) != 0;
  KnownShape shape = broadcast(a, b, 2);
  const size_t rank = shape.dims.size();
  const size_t row = a.dims.size() - 2, column = b.dims.size() - (transposed ? 2 : 1);
  shape.dims[rank - 2] = a.dims[row];
  shape.symbols[rank - 2] = a.symbols[row];
  shape.dims[rank - 1] = b.dims[column];
  shape.symbols[rank - 1] = b.symbols[column];
  inference.output(shape, types);
}

}  // namespace snnc
