#include <algorithm>

#include "linear_ops.hpp"
#include "linear_work.hpp"
#include "matmul_shape.hpp"

namespace snnc {
namespace {

constexpr size_t kPackedRows = 64;  // of one task

// Rows of a and columns of b, packed, with what their zero points add to the sums:
// (a - za)(b - zb) = a (b - 128) - za (b - 128) + (128 - zb)(a - za), of which the first product
// is the tile's, the second is known for each column, the third for each row.
struct PackedOperands {
  const uint8_t* rows;
  const int32_t* row_start;  // or none
  const uint8_t* panels;
  const int32_t* column_start;
};

// y = (a - a_zero_point)(b - b_zero_point) * scale: counts times counts.
class SpikeMatMul : public FusedKernel {
 public:
  SpikeMatMul(const Fusion& fusion, const NodeInfo& info)
      : FusedKernel(fusion, info, 3),
        a_zero_point_(zero_point_of(info, "a_zero_point")),
        b_zero_point_(zero_point_of(info, "b_zero_point")),
        transposed_(info.integer("trans_b", 0) != 0) {}

 private:
  const LinearKernels& linear() const { return kernels_.linear; }

  void run_drive(const Run& run) const override {
    const Tensor a = run.input(0), b = run.input(1);
    MatrixSizes sizes = matrix_sizes(a.shape, b.shape, transposed_);
    const Batch batch(a.shape, b.shape);
    const ColumnValues scale(single_scale(run.input(2)), sizes.columns);
    const ColumnValues no_bias(-0.0f, sizes.columns);
    const Shape shape = matmul_shape(batch, sizes);
    const FusedRun fused = open(run, shape);
    if (shape.count() == 0) return;
    const LinearFinish finish =
        finish_of(fused, sizes.columns, scale.data(), no_bias.data(), activation());
    const PackedOperands packed = pack(run, a, b, batch, sizes);
    size_t items = batch.count();
    if (batch.b_count() == 1) {  // the rows of all items meet the same columns
      sizes.rows *= items;
      items = 1;
    }
    multiply(run, packed, batch, items, sizes, finish);
  }

  static float single_scale(const Tensor& scale) {
    if (scale.shape.count() != 1)
      throw Error("scale must be a single number, not of shape " + scale.shape.text());
    return *scale.as<float>();
  }

  PackedOperands pack(const Run& run, const Tensor& a, const Tensor& b, const Batch& batch,
                      const MatrixSizes& sizes) const {
    const size_t rows = batch.a_count() * sizes.rows, stride = linear().row_bytes(sizes.k);
    const bool as_is = linear().rows_are_packed(sizes.k), correct = b_zero_point_ != 128;
    const size_t row_tasks = as_is && !correct ? 0 : (rows + kPackedRows - 1) / kPackedRows;
    const size_t panels = panels_of(linear(), sizes.columns), panel = linear().panel_bytes(sizes.k);
    const size_t panel_tasks = batch.b_count() * panels;
    auto* row_room = static_cast<uint8_t*>(scratch(row_tasks ? rows * (stride + 4) : 0, 0));
    auto* row_start = correct ? reinterpret_cast<int32_t*>(row_room + rows * stride) : nullptr;
    auto* panel_room = static_cast<uint8_t*>(
        scratch(panel_tasks * (panel + linear().tile_columns * sizeof(int32_t)), 1));
    auto* column_start = reinterpret_cast<int32_t*>(panel_room + panel_tasks * panel);
    const uint8_t* x = a.as<uint8_t>();
    run.parallel(row_tasks + panel_tasks, [&](size_t task) {
      if (task >= row_tasks) {
        const size_t i = task - row_tasks;
        return pack_columns(b, sizes, i / panels, i % panels, panel_room + i * panel,
                            column_start + i * linear().tile_columns);
      }
      const Part part = part_of(rows, row_tasks, task);
      if (!as_is)
        linear().pack_rows(x + part.begin * sizes.k, part.size(), sizes.k,
                           row_room + part.begin * stride);
      for (size_t r = part.begin; correct && r < part.end; ++r)
        row_start[r] = start_of_row(x + r * sizes.k, sizes.k);
    });
    return {as_is ? x : row_room, row_start, panel_room, column_start};
  }

  void pack_columns(const Tensor& b, const MatrixSizes& sizes, size_t item, size_t panel,
                    uint8_t* packed, int32_t* start) const {
    constexpr uint8_t kFlip = 0x80;  // takes 128 from every count
    const ByteColumns columns{b.as<uint8_t>() + item * sizes.k * sizes.columns, sizes.k,
                              sizes.columns, transposed_, kFlip};
    const size_t width = linear().tile_columns;
    if (a_zero_point_ == 0) {
      linear().pack_panel(columns, panel * width, packed, nullptr);
      std::fill(start, start + width, 0);
      return;
    }
    linear().pack_panel(columns, panel * width, packed, start);
    for (size_t n = 0; n < width; ++n) start[n] *= -a_zero_point_;
  }

  int32_t start_of_row(const uint8_t* x, size_t k) const {
    int32_t sum = 0;
    for (size_t i = 0; i < k; ++i) sum += x[i];
    return (128 - b_zero_point_) * (sum - a_zero_point_ * static_cast<int32_t>(k));
  }

  void multiply(const Run& run, const PackedOperands& packed, const Batch& batch, size_t items,
                const MatrixSizes& sizes, const LinearFinish& finish) const {
    const ProductGrid grid(linear(), sizes.rows, sizes.k, sizes.columns);
    const size_t panels = panels_of(linear(), sizes.columns), stride = linear().row_bytes(sizes.k);
    const size_t panel_bytes = panels * linear().panel_bytes(sizes.k);
    run.parallel(items * grid.tasks(), [&](size_t task) {
      const size_t item = task / grid.tasks(), rest = task % grid.tasks();
      const size_t a = items == 1 ? 0 : batch.a(item), b = items == 1 ? 0 : batch.b(item);
      const Part rows = part_of(sizes.rows, grid.row_parts, rest / grid.panel_parts);
      const Part part = part_of(panels, grid.panel_parts, rest % grid.panel_parts);
      const size_t row = a * sizes.rows + rows.begin;
      const int32_t* row_start = packed.row_start ? packed.row_start + row : nullptr;
      linear().multiply({packed.rows + row * stride, stride, rows.size(), sizes.k, row_start},
                        {packed.panels + b * panel_bytes,
                         packed.column_start + b * panels * linear().tile_columns},
                        part.begin, part.end, finish, item * sizes.rows + rows.begin);
    });
  }

  int32_t a_zero_point_, b_zero_point_;
  bool transposed_;
};

}  // namespace

void add_matmul_operations(Operations& operations) {
  add_fused_operations<SpikeMatMul>(
      operations, "SpikeMatMul", {{ort::kUint8}, {ort::kUint8}, {ort::kFloat32}}, infer_matmul);
}

}  // namespace snnc
