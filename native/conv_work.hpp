// What the convolution operations share: attributes, geometry, packed weights, the run itself.
#pragma once

#include <memory>

#include "kernels.hpp"
#include "op.hpp"

namespace snnc {

struct ConvAttributes {
  std::vector<int64_t> strides, pads, dilations;  // empty: the default
  int64_t group;
};

ConvAttributes conv_attributes(const NodeInfo& info);

// What weights [O, C / group, kernel...] say of a convolution, as far as packing needs it.
ConvShape weight_geometry(const ConvAttributes& attributes, const Shape& w);
// Refuses shapes that do not fit each other, and a kernel larger than the padded input.
ConvShape conv_geometry(const ConvAttributes& attributes, const Shape& x, const Shape& w);
Shape conv_result(const ConvShape& conv, const Shape& x);
void infer_conv(Inference& inference, ort::ElementType type);

// One number for all output channels, or one for each; refuses other lengths.
std::vector<float> channel_values(const Tensor& tensor, size_t channels, const char* what);

class PackedConvWeights {
 public:
  PackedConvWeights(const ConvKernels& kernels, const ConvShape& conv, const void* weights);
  const uint32_t* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(uint32_t* p) const;
  };
  std::unique_ptr<uint32_t, Free> memory_;
};

// The input of a convolution; zero_point: the byte that stands for 0.
struct ConvInput {
  const void* data;
  uint8_t zero_point;
};

void run_conv(const Run& run, const ConvKernels& kernels, const ConvShape& conv,
              const ConvInput& x, const PackedConvWeights& weights, const ConvFinish& finish);

}  // namespace snnc
