// What the operations that multiply matrices share: how work is cut, packed columns, finishes.
#pragma once

#include "fused.hpp"

namespace snnc {

// A part [begin, end) of a range.
struct Part {
  size_t begin, end;
  size_t size() const { return end - begin; }
};

// How many parts of at most `most` make up `count`.
inline size_t parts_of(size_t count, size_t most) { return (count + most - 1) / most; }

// The i-th of `parts` parts of [0, count), none empty where parts <= count.
inline Part part_of(size_t count, size_t parts, size_t i) {
  return {count * i / parts, count * (i + 1) / parts};
}

inline size_t panels_of(const LinearKernels& kernels, size_t columns) {
  return parts_of(columns, kernels.tile_columns);
}

// A product of packed rows and panels, cut into tasks: tasks of the same rows follow each other,
// so that these stay in the cache while panels pass.
struct ProductGrid {
  size_t row_parts, panel_parts;
  ProductGrid(const LinearKernels& kernels, size_t rows, size_t k, size_t columns);
  size_t tasks() const { return row_parts * panel_parts; }
};

// Packed rows times panels, in tasks.
void multiply_grid(const Run& run, const LinearKernels& kernels, const ByteRows& rows,
                   const BytePanels& panels, const LinearFinish& finish);

// Columns that each task takes where weights are read as they lie; bytes: of a column that is read.
size_t columns_of_task(size_t bytes);

// Numbers of columns, with the padding that kernels read.
class ColumnValues {
 public:
  // One number for all columns, or one for each.
  ColumnValues(const Tensor& tensor, size_t columns, const char* what);
  ColumnValues(float value, size_t columns) : values_(columns + kColumnPadding, value) {}
  const float* data() const { return values_.data(); }

 private:
  std::vector<float> values_;
};

// Refuses weights that are no matrix [K, N].
void check_weights(const Shape& w);

// Shape of x [..., K] times w [K, N]; refuses what does not fit.
Shape linear_shape(const Shape& x, const Shape& w);
void infer_linear(Inference& inference, const std::vector<ort::ElementType>& types);

LinearFinish finish_of(const FusedRun& fused, size_t columns, const float* scale,
                       const float* bias, Activation activation);

// The finish of `columns` of the columns, from `first` on.
LinearFinish part_of_columns(LinearFinish finish, size_t first, size_t columns);

// Zero point of counts as bytes: 0 or 128.
uint8_t zero_point_of(const NodeInfo& info, const char* attribute);

}  // namespace snnc
