#include <algorithm>

#include "linear_ops.hpp"
#include "linear_work.hpp"

namespace snnc {
namespace {

constexpr size_t kPackedRows = 64;  // of one task

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
struct Sizes {
  size_t rows, k, columns;
};

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

  Sizes sizes_of(const Shape& a, const Shape& b) const {
    if (a.rank() < 2 || b.rank() < 2)
      throw Error("operands must be matrices, not of shapes " + a.text() + " and " + b.text());
    const int64_t depth = b[b.rank() - (transposed_ ? 1 : 2)];
    if (a.back() != depth)
      throw Error("operands of shapes " + a.text() + " and " + b.text() +
                  (transposed_ ? " (transposed)" : "") + " do not multiply");
    return {static_cast<size_t>(a[a.rank() - 2]), static_cast<size_t>(depth),
            static_cast<size_t>(b[b.rank() - (transposed_ ? 2 : 1)])};
  }

  static Shape shape_of(const Batch& batch, const Sizes& sizes) {
    int64_t dims[kMaxRank];
    for (size_t axis = 0; axis < batch.rank(); ++axis)
      dims[axis] = static_cast<int64_t>(batch.size(axis));
    dims[batch.rank()] = static_cast<int64_t>(sizes.rows);
    dims[batch.rank() + 1] = static_cast<int64_t>(sizes.columns);
    return Shape(dims, batch.rank() + 2);
  }

  void run_drive(const Run& run) const override {
    const Tensor a = run.input(0), b = run.input(1);
    Sizes sizes = sizes_of(a.shape, b.shape);
    const Batch batch(a.shape, b.shape);
    const ColumnValues scale(single_scale(run.input(2)), sizes.columns);
    const ColumnValues no_bias(-0.0f, sizes.columns);
    const Shape shape = shape_of(batch, sizes);
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
                      const Sizes& sizes) const {
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

  void pack_columns(const Tensor& b, const Sizes& sizes, size_t item, size_t panel,
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
                const Sizes& sizes, const LinearFinish& finish) const {
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

// The size that two sizes broadcast to; unknown and nameless where that depends on the run.
void broadcast_axis(KnownShape& to, size_t axis, int64_t size, const std::string& symbol) {
  const int64_t own = to.dims[axis];
  if (size == 1 || (own == size && to.symbols[axis] == symbol) || (own > 1 && size < 0)) return;
  const bool takes_other = own == 1 || (own < 0 && size > 1);
  to.dims[axis] = takes_other ? size : -1;
  to.symbols[axis] = takes_other ? symbol : "";
}

void infer_matmul(Inference& inference, const std::vector<ort::ElementType>& types) {
  const KnownShape a = inference.input(0), b = inference.input(1);
  if (a.dims.size() < 2 || b.dims.size() < 2) return;
  const bool transposed = inference.integer("trans_b", 0) != 0;
  const bool a_longer = a.dims.size() >= b.dims.size();
  const KnownShape& shorter = a_longer ? b : a;
  KnownShape shape = a_longer ? a : b;
  const size_t rank = shape.dims.size(), missing = rank - shorter.dims.size();
  for (size_t axis = missing; axis + 2 < rank; ++axis)
    broadcast_axis(shape, axis, shorter.dims[axis - missing], shorter.symbols[axis - missing]);
  const size_t row = a.dims.size() - 2, column = b.dims.size() - (transposed ? 2 : 1);
  shape.dims[rank - 2] = a.dims[row];
  shape.symbols[rank - 2] = a.symbols[row];
  shape.dims[rank - 1] = b.dims[column];
  shape.symbols[rank - 1] = b.symbols[column];
  inference.output(shape, types);
}

}  // namespace

void add_matmul_operations(Operations& operations) {
  add_fused_operations<SpikeMatMul>(
      operations, "SpikeMatMul", {{ort::kUint8}, {ort::kUint8}, {ort::kFloat32}}, infer_matmul);
}

}  // namespace snnc
