#include <algorithm>

#include "linear_ops.hpp"
#include "linear_work.hpp"

namespace snnc {
namespace {

constexpr size_t kEventRows = 4;
// Weight rows that events may read, as a part of all: beyond it blocks of rows are faster.
constexpr double kEventShare = 1.0;
constexpr size_t kBlockRows = 64;

struct FloatMatrix {
  const float* data;
  size_t rows, columns;
};

// y = x * w + bias, all floats; weights of silent inputs are not read where there are few rows.
class FloatLinear : public FusedKernel {
 public:
  FloatLinear(const Fusion& fusion, const NodeInfo& info) : FusedKernel(fusion, info, 3) {}

 private:
  const LinearKernels& linear() const { return kernels_.linear; }

  void run_drive(const Run& run) const override {
    const Tensor x = run.input(0), w = run.input(1);
    const Shape shape = linear_shape(x.shape, w.shape);
    const auto columns = static_cast<size_t>(w.shape[1]);
    const ColumnValues bias(run.input(2), columns, "bias");
    const FusedRun fused = open(run, shape);
    if (shape.count() == 0) return;
    const LinearFinish finish = finish_of(fused, columns, nullptr, bias.data(), activation());
    const FloatMatrix weights{w.as<float>(), static_cast<size_t>(w.shape[0]), columns};
    const size_t rows = shape.count() / columns, inputs = rows * weights.rows;
    if (rows <= kEventRows) {
      const size_t silent = static_cast<size_t>(
          std::count(x.as<float>(), x.as<float>() + inputs, 0.0f));
      if (static_cast<double>(inputs - silent) <=
          kEventShare * static_cast<double>(weights.rows))
        return multiply_events(run, x.as<float>(), rows, weights, finish);
    }
    multiply_rows(run, x.as<float>(), rows, weights, finish);
  }

  void multiply_rows(const Run& run, const float* x, size_t rows, const FloatMatrix& w,
                     const LinearFinish& finish) const {
    const size_t step = columns_of_task(std::min(rows, kBlockRows) * w.rows * sizeof(float));
    const size_t column_parts = (w.columns + step - 1) / step;
    const size_t row_parts = (rows + kBlockRows - 1) / kBlockRows;
    run.parallel(row_parts * column_parts, [&](size_t task) {
      const Part part = part_of(rows, row_parts, task / column_parts);
      const Part columns = part_of(w.columns, column_parts, task % column_parts);
      linear().multiply_floats(x + part.begin * w.rows, part.size(), w.rows, w.data,
                               columns.begin, columns.end, finish, part.begin);
    });
  }

  void multiply_events(const Run& run, const float* x, size_t rows, const FloatMatrix& w,
                       const LinearFinish& finish) const {
    auto* values = static_cast<float*>(scratch(rows * w.rows * 2 * sizeof(float), 3));
    auto* index = reinterpret_cast<uint32_t*>(values + rows * w.rows);
    FloatEvents events[kEventRows];
    size_t count = 0;
    for (size_t r = 0; r < rows; ++r) {
      events[r] = collect(x + r * w.rows, w.rows, index + r * w.rows, values + r * w.rows);
      count += events[r].count;
    }
    const size_t step = columns_of_task(count * sizeof(float));
    run.parallel((w.columns + step - 1) / step, [&](size_t task) {
      const size_t first = task * step, last = std::min(w.columns, first + step);
      for (size_t r = 0; r < rows; ++r)
        linear().multiply_float_events(events[r], w.data, first, last, finish, r);
    });
  }

  static FloatEvents collect(const float* x, size_t k, uint32_t* index, float* values) {
    size_t n = 0;
    for (size_t i = 0; i < k; ++i) {  // without a branch: what is silent is written over
      index[n] = static_cast<uint32_t>(i);
      values[n] = x[i];
      n += x[i] != 0.0f;
    }
    return {index, values, n};
  }
};

}  // namespace

// Lowering fuses nothing behind it: only the drive itself is registered.
void add_float_linear_operations(Operations& operations) {
  static const Fusion alone{"", false, Activation::kNone, nullptr, false};
  add_fused_operation<FloatLinear>(operations, "FloatLinear",
                                   {{ort::kFloat32}, {ort::kFloat32}, {ort::kFloat32}},
                                   infer_linear, alone);
}

}  // namespace snnc
