#include "linear_ops.hpp"

#include <algorithm>

#include "packed_weights.hpp"

namespace snnc {
namespace {

constexpr size_t kPackedRows = 64;  // of one task
constexpr size_t kEventRows = 4;
// Weight rows that events may read, as a part of all: beyond it packed panels are faster.
constexpr double kEventShare = 0.6;

// y = (x - zero_point) * w * scale + bias: counts times int8 weights.
class SpikeLinear : public FusedKernel {
 public:
  SpikeLinear(const Fusion& fusion, const NodeInfo& info)
      : FusedKernel(fusion, info, 4), zero_point_(zero_point_of(info, "zero_point")) {
    const std::optional<Tensor> w = info.constant(1), scale = info.constant(2),
                                bias = info.constant(3);
    if (!w) return;
    try {
      const size_t columns = columns_of(*w);
      if (scale) scale_.emplace(*scale, columns, "scale");
      if (bias) bias_.emplace(*bias, columns, "bias");
    } catch (const Error& error) {
      info.refuse(error.what());
    }
    pack_constant(*w);
  }

 private:
  static size_t columns_of(const Tensor& w) {
    check_weights(w.shape);
    return static_cast<size_t>(w.shape[1]);
  }
  static ByteColumns bytes_of(const Tensor& w) {
    return {w.as<uint8_t>(), static_cast<size_t>(w.shape[0]), static_cast<size_t>(w.shape[1]),
            false, 0};
  }
  const LinearKernels& linear() const { return kernels_.linear; }

  void pack_constant(const Tensor& w) {
    const ByteColumns bytes = bytes_of(w);
    memory_ = aligned_memory(PackedWeights::bytes(linear(), bytes.k, bytes.columns));
    packed_.emplace(linear(), bytes, zero_point_, memory_.get());
    packed_->pack_all();
  }

  void run_drive(const Run& run) const override {
    const Tensor x = run.input(0), w = run.input(1);
    const size_t columns = columns_of(w);
    const Shape shape = linear_shape(x.shape, w.shape);
    std::optional<ColumnValues> scale, bias;
    if (!scale_) scale.emplace(run.input(2), columns, "scale");
    if (!bias_) bias.emplace(run.input(3), columns, "bias");
    const FusedRun fused = open(run, shape);
    if (shape.count() == 0) return;
    const LinearFinish finish = finish_of(fused, columns, (scale_ ? *scale_ : *scale).data(),
                                          (bias_ ? *bias_ : *bias).data(), activation());
    multiply(run, x.as<uint8_t>(), shape.count() / columns, bytes_of(w), finish);
  }

  void multiply(const Run& run, const uint8_t* x, size_t rows, const ByteColumns& w,
                const LinearFinish& finish) const {
    if (rows <= kEventRows) {
      const size_t inputs = rows * w.k;
      const size_t silent = static_cast<size_t>(std::count(x, x + inputs, zero_point_));
      if (static_cast<double>(inputs - silent) <= kEventShare * static_cast<double>(w.k))
        return multiply_events(run, x, rows, w, finish);
    }
    if (packed_) return multiply_panels(run, x, rows, w.k, packed_->get(), finish);
    const size_t size = PackedWeights::bytes(linear(), w.k, w.columns);
    const PackedWeights packed(linear(), w, zero_point_, scratch(size, 1));
    run.parallel(packed.panels(), [&](size_t panel) { packed.pack(panel); });
    multiply_panels(run, x, rows, w.k, packed.get(), finish);
  }

  void multiply_panels(const Run& run, const uint8_t* x, size_t rows, size_t k,
                       const BytePanels& panels, const LinearFinish& finish) const {
    const size_t stride = linear().row_bytes(k);
    const uint8_t* packed = x;
    if (!linear().rows_are_packed(k)) {
      auto* room = static_cast<uint8_t*>(scratch(rows * stride));
      const size_t parts = parts_of(rows, kPackedRows);
      run.parallel(parts, [&](size_t i) {
        const Part part = part_of(rows, parts, i);
        linear().pack_rows(x + part.begin * k, part.size(), k, room + part.begin * stride);
      });
      packed = room;
    }
    multiply_grid(run, linear(), {packed, stride, rows, k, nullptr}, panels, finish);
  }

  void multiply_events(const Run& run, const uint8_t* x, size_t rows, const ByteColumns& w,
                       const LinearFinish& finish) const {
    const size_t most = w.k + 3, packed_bytes = linear().row_bytes(most);
    const size_t row_size = (most * sizeof(uint32_t) + most + packed_bytes + 63) / 64 * 64;
    auto* room = static_cast<uint8_t*>(scratch(rows * row_size, 3));
    Events events[kEventRows];
    size_t groups = 0;
    for (size_t r = 0; r < rows; ++r) {
      auto* index = reinterpret_cast<uint32_t*>(room + r * row_size);
      uint8_t* packed = reinterpret_cast<uint8_t*>(index + most);
      events[r] = linear().collect_events(x + r * w.k, w.k, zero_point_, index,
                                          packed + packed_bytes, packed);
      groups += events[r].groups;
    }
    const auto* weights = reinterpret_cast<const int8_t*>(w.data);
    const size_t step = columns_of_task(4 * groups);
    run.parallel((w.columns + step - 1) / step, [&](size_t task) {
      const size_t first = task * step, last = std::min(w.columns, first + step);
      for (size_t r = 0; r < rows; ++r)
        linear().multiply_events(events[r], weights, first, last, finish, r);
    });
  }

  uint8_t zero_point_;
  std::optional<ColumnValues> scale_, bias_;
  Memory memory_;
  std::optional<PackedWeights> packed_;
};

}  // namespace

void add_linear_operations(Operations& operations) {
  add_fused_operations<SpikeLinear>(
      operations, "SpikeLinear",
      {{ort::kUint8}, {ort::kInt8}, {ort::kFloat32}, {ort::kFloat32}}, infer_linear);
}

}  // namespace snnc
