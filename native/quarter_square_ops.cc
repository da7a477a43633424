#include <cmath>

#include "broadcast.hpp"
#include "linear_work.hpp"
#include "matmul_shape.hpp"
#include "spike_time_ops.hpp"

namespace snnc {
namespace {

// The windows of the neurons in between, from the ranges of both factors.
SquareWindows square_windows(const NodeInfo& info) {
  ValueRange a = value_range(info, "a_low", "a_high"), b = value_range(info, "b_low", "b_high");
  const float balance = info.number("balance"), inverse = 1 / balance;
  int exponent;
  if (!(balance > 0) || std::frexp(balance, &exponent) != 0.5f || !std::isfinite(inverse))
    info.refuse("balance must be a power of two, not " + std::to_string(balance));
  a = {a.low * balance, a.high * balance};
  b = {b.low * inverse, b.high * inverse};
  return {spike_window(info, {a.low + b.low, a.high + b.high}),
          spike_window(info, {a.low - b.high, a.high - b.low}), balance, inverse};
}

class QuarterSquareMul : public LabelledKernel {
 public:
  explicit QuarterSquareMul(const NodeInfo& info)
      : LabelledKernel(info), windows_(square_windows(info)) {}

 private:
  void run_node(const Run& run) const override {
    const Tensor a = run.input(0), b = run.input(1);
    const Broadcast meeting(a.shape, b.shape);
    const float *left = a.as<float>(), *right = b.as<float>();
    float* out = run.output<float>(meeting.shape());
    over_results(run, meeting.shape().count(), [&](size_t first, size_t size) {
      meeting.each(first, size, [&](size_t i, size_t n, size_t a_at, size_t b_at) {
        kernels_.spike_times.multiply({left + a_at, meeting.a_each()},
                                      {right + b_at, meeting.b_each()}, out + first + i, n,
                                      windows_);
      });
    });
  }

  SquareWindows windows_;
};

// Rows of one matrix times columns of another; the tasks of a run share them out.
class SquareGrid {
 public:
  SquareGrid(const SpikeTimeKernels& kernels, size_t items, const MatrixSizes& sizes)
      : sizes_(sizes), step_(kernels.column_step) {
    constexpr size_t kRows = 64;  // of one part: as many as make packing of columns cheap
    row_parts_ = parts_of(sizes.rows, kRows);
    panels_ = parts_of(sizes.columns, kernels.panel_columns);
    parts_ = items * row_parts_ * panels_;
    constexpr size_t kProducts = 1 << 15;  // of one task at least: what is worth a thread
    const size_t products = items * sizes.rows * sizes.k * sizes.columns;
    tasks_ = std::clamp<size_t>(products / kProducts, 1, parts_);
  }
  size_t tasks() const { return tasks_; }
  // visit(item, rows, columns) for the parts of a task.
  template <class Visit>
  void each(size_t task, const Visit& visit) const {
    const Part part = part_of(parts_, tasks_, task);
    for (size_t i = part.begin; i < part.end; ++i)
      visit(i / panels_ / row_parts_, part_of(sizes_.rows, row_parts_, i / panels_ % row_parts_),
            columns(i % panels_));
  }

 private:
  // Vectors of columns shared out evenly, so that few are part empty.
  Part columns(size_t panel) const {
    const Part steps = part_of(parts_of(sizes_.columns, step_), panels_, panel);
    return {steps.begin * step_, std::min(steps.end * step_, sizes_.columns)};
  }

  MatrixSizes sizes_;
  size_t step_, row_parts_, panels_, parts_, tasks_;
};

class QuarterSquareMatMul : public LabelledKernel {
 public:
  explicit QuarterSquareMatMul(const NodeInfo& info)
      : LabelledKernel(info), windows_(square_windows(info)) {}

 private:
  void run_node(const Run& run) const override {
    const Tensor a = run.input(0), b = run.input(1);
    MatrixSizes sizes = matrix_sizes(a.shape, b.shape, false);
    const Batch batch(a.shape, b.shape);
    const Shape shape = matmul_shape(batch, sizes);
    float* out = run.output<float>(shape);
    if (shape.count() == 0) return;
    size_t items = batch.count();
    if (batch.b_count() == 1) {  // the rows of all items meet the same columns
      sizes.rows *= items;
      items = 1;
    }
    const SquareGrid grid(kernels_.spike_times, items, sizes);
    const float *left = a.as<float>(), *right = b.as<float>();
    run.parallel(grid.tasks(), [&](size_t task) {
      grid.each(task, [&](size_t item, Part rows, Part columns) {
        const size_t row = (items == 1 ? 0 : batch.a(item)) * sizes.rows + rows.begin;
        const size_t matrix = (items == 1 ? 0 : batch.b(item)) * sizes.k * sizes.columns;
        float* y = out + (item * sizes.rows + rows.begin) * sizes.columns + columns.begin;
        multiply(left + row * sizes.k, rows.size(),
                 {right + matrix + columns.begin, columns.size(), sizes.k, sizes.columns}, y);
      });
    });
  }

  void multiply(const float* a, size_t rows, const SquareColumns& b, float* y) const {
    const SpikeTimeKernels& kernels = kernels_.spike_times;
    if (b.k != 1) {
      auto* room = static_cast<float*>(scratch(b.k * kernels.panel_columns * sizeof(float)));
      return kernels.multiply_rows(a, rows, b, y, windows_, room);
    }
    for (size_t r = 0; r < rows; ++r)  // nothing is summed: each product is rounded as Mul's
      kernels.multiply({a + r, false}, {b.data, true}, y + r * b.stride, b.count, windows_);
  }

  SquareWindows windows_;
};

template <class Product>
void add_product(Operations& operations, const char* name, Operation::Inferrer infer) {
  operations.push_back(std::make_unique<Operation>(
      name, std::vector<Input>{{ort::kFloat32}, {ort::kFloat32}},
      std::vector<ort::ElementType>{ort::kFloat32},
      [](const NodeInfo& info) { return std::make_unique<Product>(info); }, std::move(infer)));
}

}  // namespace

void add_quarter_square_operations(Operations& operations) {
  add_product<QuarterSquareMul>(operations, "QuarterSquareMul", infer_broadcast);
  add_product<QuarterSquareMatMul>(operations, "QuarterSquareMatMul", [](Inference& inference) {
    infer_matmul(inference, {ort::kFloat32});
  });
}

}  // namespace snnc
