// The geometry of a convolution, from attributes and shapes.
#pragma once

#include "conv_shape.hpp"
#include "op.hpp"

namespace snnc {

// [B, spatial..., C] or [B, C, spatial...]
enum class Layout { kChannelsLast, kChannelsFirst };

struct ConvAttributes {
  std::vector<int64_t> strides, pads, dilations;  // empty: the default
  int64_t group;
};

ConvAttributes conv_attributes(const NodeInfo& info);

// What weights [O, C / group, kernel...] say of a convolution, as far as packing needs it.
ConvShape weight_geometry(const ConvAttributes& attributes, const Shape& w);
// Refuses shapes that do not fit each other, and a kernel larger than the padded input.
ConvShape conv_geometry(const ConvAttributes& attributes, const Shape& x, const Shape& w,
                        Layout layout);
Shape conv_result(const ConvShape& conv, const Shape& x, Layout layout);
void infer_conv(Inference& inference, const std::vector<ort::ElementType>& types, Layout layout);

}  // namespace snnc
