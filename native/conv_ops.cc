#include "conv_ops.hpp"

#include "conv_geometry.hpp"
#include "conv_product.hpp"

namespace snnc {
namespace {

// y = sum over taps of (x - zero_point) * w, * scale + bias: counts [B, spatial..., C] times int8
// weights [O, C / group, kernel...].
class SpikeConv : public FusedKernel {
 public:
  SpikeConv(const Fusion& fusion, const NodeInfo& info)
      : FusedKernel(fusion, info, 4),
        attributes_(conv_attributes(info)),
        zero_point_(zero_point_of(info, "zero_point")) {
    const std::optional<Tensor> w = info.constant(1), scale = info.constant(2),
                                bias = info.constant(3);
    if (!w) return;
    try {
      const ConvShape conv = weight_geometry(attributes_, w->shape);
      const size_t columns = conv.groups * conv.outputs;
      if (scale) scale_.emplace(*scale, columns, "scale");
      if (bias) bias_.emplace(*bias, columns, "bias");
      weights_.emplace(kernels_, conv, w->as<int8_t>(), zero_point_);
    } catch (const Error& error) {
      info.refuse(error.what());
    }
  }

 private:
  void run_drive(const Run& run) const override {
    const Tensor x = run.input(0), w = run.input(1);
    const ConvShape conv = conv_geometry(attributes_, x.shape, w.shape, Layout::kChannelsLast);
    const size_t columns = conv.groups * conv.outputs;
    const Shape shape = conv_result(conv, x.shape, Layout::kChannelsLast);
    std::optional<ColumnValues> scale, bias;
    if (!scale_) scale.emplace(run.input(2), columns, "scale");
    if (!bias_) bias.emplace(run.input(3), columns, "bias");
    const FusedRun fused = open(run, shape);
    if (shape.count() == 0) return;
    const LinearFinish finish = finish_of(fused, columns, (scale_ ? *scale_ : *scale).data(),
                                          (bias_ ? *bias_ : *bias).data(), activation());
    std::optional<ConvWeights> own;
    if (!weights_) own.emplace(kernels_, conv, w.as<int8_t>(), zero_point_);
    const ConvProduct product(run, kernels_, conv, x.as<uint8_t>(), zero_point_, finish);
    product.multiply(weights_ ? *weights_ : *own);
  }

  ConvAttributes attributes_;
  uint8_t zero_point_;
  std::optional<ColumnValues> scale_, bias_;
  std::optional<ConvWeights> weights_;
};

}  // namespace

void add_conv_operations(Operations& operations) {
  add_fused_operations<SpikeConv>(
      operations, "SpikeConv",
      {{ort::kUint8}, {ort::kInt8}, {ort::kFloat32}, {ort::kFloat32}},
      [](Inference& inference, const std::vector<ort::ElementType>& types) {
        infer_conv(inference, types, Layout::kChannelsLast);
      });
}

}  // namespace snnc
