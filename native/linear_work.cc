#include "linear_work.hpp"

#include <algorithm>

namespace snnc {
namespace {

constexpr size_t kCachedRowBytes = 384 * 1024;  // of the second-level cache, panels need the rest
constexpr size_t kMostRows = 256;
constexpr size_t kFewRows = 132;  // beside panels that stay in the cache, results do so, too
constexpr size_t kCachedPanelBytes = 640 * 1024;
constexpr size_t kTaskProducts = 4 << 20;   // about 10 microseconds with AVX-512 VNNI
constexpr size_t kRowsOfPanelLoad = 16;     // loading a panel costs as much as so many rows
constexpr size_t kTaskWeightBytes = 256 * 1024;


}  // namespace

ProductGrid::ProductGrid(const LinearKernels& kernels, size_t rows, size_t k, size_t columns) {
  const size_t cached = kCachedRowBytes / std::max<size_t>(1, kernels.row_bytes(k));
  const size_t panels = panels_of(kernels, columns);
  const bool stay = panels * kernels.panel_bytes(k) <= kCachedPanelBytes;
  const size_t chunk = std::max(kernels.tile_rows, std::min(cached, stay ? kFewRows : kMostRows));
  row_parts = parts_of(rows, chunk);
  const size_t work = kernels.panel_bytes(k) * (std::min(rows, chunk) + kRowsOfPanelLoad);
  panel_parts = parts_of(panels, std::max<size_t>(1, kTaskProducts / std::max<size_t>(1, work)));
}

void multiply_grid(const Run& run, const LinearKernels& kernels, const ByteRows& rows,
                   const BytePanels& panels, const LinearFinish& finish) {
  const ProductGrid grid(kernels, rows.count, rows.k, finish.columns);
  const size_t count = panels_of(kernels, finish.columns);
  run.parallel(grid.tasks(), [&](size_t task) {
    const Part part = part_of(rows.count, grid.row_parts, task / grid.panel_parts);
    const Part panel = part_of(count, grid.panel_parts, task % grid.panel_parts);
    kernels.multiply({rows.data + part.begin * rows.stride, rows.stride, part.size(), rows.k,
                      rows.start ? rows.start + part.begin : nullptr},
                     panels, panel.begin, panel.end, finish, part.begin);
  });
}

size_t columns_of_task(size_t bytes) {
  constexpr size_t kLeast = 512, kMost = 4096, kUnit = 64;
  const size_t columns = kTaskWeightBytes / std::max<size_t>(1, bytes);
  return std::min(kMost, std::max(kLeast, columns / kUnit * kUnit));
}

ColumnValues::ColumnValues(const Tensor& tensor, size_t columns, const char* what) {
  const size_t count = tensor.shape.count();
  const bool single = tensor.shape.rank() == 0;
  if (!single && !(tensor.shape.rank() == 1 && count == columns))
    throw Error(std::string(what) + " must have one entry for each of " +
                std::to_string(columns) + " columns, not shape " + tensor.shape.text());
  values_.assign(columns + kColumnPadding, 0.0f);
  for (size_t i = 0; i < columns; ++i) values_[i] = tensor.as<float>()[single ? 0 : i];
}

void check_weights(const Shape& w) {
  if (w.rank() != 2) throw Error("weights must be of rank 2, not of shape " + w.text());
}

Shape linear_shape(const Shape& x, const Shape& w) {
  check_weights(w);
  if (x.rank() == 0 || x.back() != w[0])
    throw Error("x of shape " + x.text() + " and weights of shape " + w.text() +
                " do not multiply");
  Shape shape = x;
  shape[x.rank() - 1] = w[1];
  return shape;
}

void infer_linear(Inference& inference, const std::vector<ort::ElementType>& types) {
  KnownShape shape = inference.input(0);
  const KnownShape w = inference.input(1);
  if (shape.dims.empty() || w.dims.size() != 2) return;
  shape.dims.back() = w.dims[1];
  shape.symbols.back() = w.symbols[1];
  inference.output(shape, types);
}

LinearFinish finish_of(const FusedRun& fused, size_t columns, const float* scale,
                       const float* bias, Activation activation) {
  return {columns, columns,        scale,        bias,        fused.addend,
          activation, fused.decision, &fused.steps, fused.result, fused.kept};
}

LinearFinish part_of_columns(LinearFinish finish, size_t first, size_t columns) {
  const size_t bytes = finish.decision ? sizeof(uint8_t) : sizeof(float);
  finish.columns = columns;
  finish.scale += first;
  finish.bias += first;
  if (finish.addend) finish.addend += first;
  if (finish.kept) finish.kept += first;
  finish.result = static_cast<uint8_t*>(finish.result) + first * bytes;
  return finish;
}

uint8_t zero_point_of(const NodeInfo& info, const char* attribute) {
  const int64_t zero_point = info.integer(attribute);
  if (zero_point != 0 && zero_point != 128)
    info.refuse(std::string(attribute) + " must be 0 or 128, not " + std::to_string(zero_point));
  return static_cast<uint8_t>(zero_point);
}

}  // namespace snnc
