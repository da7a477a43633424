// A channels-last convolution as its kernels see it: rows are output positions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "linear_kernels.hpp"

namespace snnc {

// Sizes of one axis in space.
struct ConvAxis {
  size_t input, output, kernel, stride, dilation, pad;
};

// Channel numbers are those of one group.
struct ConvShape {
  size_t batch, groups, channels, outputs;
  ConvAxis y, x;

  size_t positions() const { return batch * y.output * x.output; }
  size_t taps() const { return y.kernel * x.kernel; }
  size_t depth() const { return taps() * channels; }  // of one row
  bool depthwise() const { return groups > 1 && channels == 1 && outputs == 1; }
  // Whether the input itself is the matrix of rows.
  bool pointwise() const {
    const auto plain = [](const ConvAxis& a) {
      return a.kernel == 1 && a.stride == 1 && a.input == a.output;
    };
    return groups == 1 && plain(y) && plain(x);
  }
};

// The rows of a convolution, [positions][taps][channels], to be gathered from its input
// [batch][y][x][channels of all groups]: `channels` of them, from `channel` on.
struct ConvRows {
  ConvShape shape;
  const uint8_t* x;
  size_t channel, channels;
  uint8_t zero_point;  // what inputs outside the map are

  size_t depth() const { return shape.taps() * channels; }
};

// Weights [channels][taps] of a depthwise convolution.
struct DepthwiseWeights {
  const int8_t* data;
  size_t channels, taps;
  int32_t zero_point;  // of the inputs
};

// The input of a depthwise convolution. Vectors of channels may reach kReadAhead bytes past those
// of a position, so that the last positions are read from a copy.
struct DepthwiseInput {
  ConvRows rows;
  const uint8_t* end;         // where the part that is copied begins
  const uint8_t* copied_end;
  const uint8_t* silent;      // channels that count nothing
};
constexpr size_t kReadAhead = 64;
constexpr size_t kDepthwiseRows = 16;  // of which taps are held at once
constexpr size_t kMostTapsOfWord = 4;

struct ConvKernels {
  // The rows [first, first + count), packed as by pack_rows.
  void (*gather_rows)(const ConvRows&, size_t first, size_t count, uint8_t* packed);
  size_t (*depthwise_bytes)(size_t channels, size_t taps);
  void (*pack_depthwise)(const DepthwiseWeights&, uint8_t* packed);
  // The rows [first, last) of the result. room: for kDepthwiseRows times the taps, rounded up
  // to kMostTapsOfWord.
  void (*multiply_depthwise)(const DepthwiseInput&, const uint8_t* weights, const LinearFinish&,
                             size_t first, size_t last, const uint8_t** room);
};

}  // namespace snnc
