// A convolution as products of matrices: packed weights, gathered rows, tasks.
#pragma once

#include "conv_shape.hpp"
#include "packed_weights.hpp"

namespace snnc {

// Weights [O, C / group, kernel...] as one packed matrix for each group, or as those of a
// depthwise convolution.
class ConvWeights {
 public:
  ConvWeights(const Kernels& kernels, const ConvShape& conv, const int8_t* weights,
              uint8_t zero_point);
  BytePanels group(size_t i) const { return groups_[i].get(); }
  const uint8_t* depthwise() const { return static_cast<const uint8_t*>(memory_.get()); }

 private:
  Memory memory_;
  std::vector<PackedWeights> groups_;
};

// The convolution of an input [B, spatial..., C].
class ConvProduct {
 public:
  ConvProduct(const Run& run, const Kernels& kernels, const ConvShape& conv, const uint8_t* x,
              uint8_t zero_point, const LinearFinish& finish);
  void multiply(const ConvWeights& weights) const;

 private:
  void multiply_depthwise(const ConvWeights& weights) const;
  DepthwiseInput depthwise_input() const;
  // All rows of a group are gathered, then multiplied.
  void multiply_gathered(const BytePanels& panels, const ConvRows& rows,
                         const LinearFinish& finish) const;
  // Each task gathers some rows of a group and multiplies them.
  void multiply_blocks(const BytePanels& panels, const ConvRows& rows,
                       const LinearFinish& finish) const;
  ConvRows rows_of(size_t channel, size_t channels) const {
    return {conv_, x_, channel, channels, zero_point_};
  }

  const Run& run_;
  const Kernels& kernels_;
  const ConvShape& conv_;
  const uint8_t* x_;
  uint8_t zero_point_;
  const LinearFinish& finish_;
};

}  // namespace snnc
