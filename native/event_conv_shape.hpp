// A convolution by event as its kernels see it: channels first, of one group.
#pragma once

#include <algorithm>

#include "conv_shape.hpp"

namespace snnc {

struct EventConv {
  ConvShape shape;
  bool window;  // 3x3 that goes by one, padded by two at most: inputs reach outputs around them

  // The input rows [first_input, last_input) that the output rows from, or up to, `row` read.
  size_t first_input(size_t row) const { return input(row * shape.y.stride); }
  size_t last_input(size_t row) const {
    return input((row - 1) * shape.y.stride + (shape.y.kernel - 1) * shape.y.dilation + 1);
  }

 private:
  // `at` of the padded rows as an input row.
  size_t input(size_t at) const {
    return std::min(at > shape.y.pad ? at - shape.y.pad : 0, shape.y.input);
  }
};

// Inputs of one row in space that are not silent, by place along x and then by channel.
struct RowEvents {
  float* values;
  uint32_t* index;  // place * channels + channel
  uint32_t* begin;  // of the events of each place, and the end of the last
};

// The weights of one tap along y, [taps along x][channels][width], and the events it reads.
struct TapRow {
  RowEvents events;
  const float* weights;
};

// Vectors of events are written whole: this many past the last one of a row.
constexpr size_t kEventPadding = 16;
// Channels whose bits are cleared past the last one.
constexpr size_t kFiredPadding = 32;

// From a place in an image to the same in the image that comes next, to be prefetched: images of one
// sample lie far apart.
struct Ahead {
  size_t input, output;
};

// Memory of one task.
struct EventMemory {
  RowEvents events;  // of several rows: inputs + kEventPadding, and places + 1, of each
  size_t inputs, places;
  uint32_t* offsets;  // of one row: where the values of its events lie
  uint16_t* fired;    // a bit for each of some places, by channel
  TapRow* taps;
  float* sums;
  Ahead ahead{};

  RowEvents row(size_t i) const {
    const size_t first = i * (inputs + kEventPadding);
    return {events.values + first, events.index + first, events.begin + i * (places + 1)};
  }
};

struct EventConvKernels {
  // How many numbers the packed weights, and the sums of a task, are.
  size_t (*weights)(const EventConv&);
  size_t (*sums)(const EventConv&);
  // From [O, C, taps] to what convolve reads.
  void (*pack)(const EventConv&, const float* w, float* packed);
  // Rows [first, last) of the result [O][y][x] for one image x [C][y][x]. bias: of each output,
  // with kColumnPadding.
  void (*convolve)(const EventConv&, const float* x, const float* weights, const float* bias,
                   size_t first, size_t last, float* y, const EventMemory&);
};

}  // namespace snnc
