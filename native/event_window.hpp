// Convolutions of 3x3 by event: an input adds its weights to the nine outputs around it, whose sums
// stay in registers while the inputs of one place pass.
#pragma once

#include "event_blocks.hpp"
#include "feature_rows.hpp"

namespace snnc {
namespace SNNC_ISA {

constexpr size_t kSide = 3;
#if defined(__AVX512F__)
constexpr size_t kWindowVectors = 3;  // nine times as many registers
#else
constexpr size_t kWindowVectors = 1;
#endif

// Three rows of sums, [places + 2][width]; the row i of all lies at i % 3.
struct SumRing {
  float* sums;
  size_t places, width;
  float* row(size_t i) const { return sums + i % kSide * (places + kSide - 1) * width; }
};

// Adds the events of an input row to the sums of the rows from the same one on.
// weights: [channels][3][3][width], the last taps first.
template <size_t kVectors>
void add_row(const RowEvents& events, const float* weights, size_t channels, const SumRing& ring,
             size_t row) {
  constexpr size_t kWidth = kVectors * kLanes, kOfChannel = kSide * kSide * kWidth;
  float* rows[kSide] = {ring.row(row), ring.row(row + 1), ring.row(row + 2)};
  Floats sums[kSide][kSide][kVectors];
#pragma GCC unroll 3
  for (size_t r = 0; r < kSide; ++r)
#pragma GCC unroll 2
    for (size_t c = 0; c + 1 < kSide; ++c)
#pragma GCC unroll 3
      for (size_t v = 0; v < kVectors; ++v)
        sums[r][c][v] = load(rows[r] + c * kWidth + v * kLanes);
  for (size_t place = 0; place < ring.places; ++place) {
    constexpr size_t kNew = kSide - 1;
#pragma GCC unroll 3
    for (size_t r = 0; r < kSide; ++r)
#pragma GCC unroll 3
      for (size_t v = 0; v < kVectors; ++v)
        sums[r][kNew][v] = load(rows[r] + (place + kNew) * kWidth + v * kLanes);
    const size_t end = events.begin[place + 1];
    for (size_t e = events.begin[place]; e < end; ++e) {
      const float* w = weights + (events.index[e] - place * channels) * kOfChannel;
      const Floats value = all(events.values[e]);
#pragma GCC unroll 3
      for (size_t r = 0; r < kSide; ++r)
#pragma GCC unroll 3
        for (size_t c = 0; c < kSide; ++c)
#pragma GCC unroll 3
          for (size_t v = 0; v < kVectors; ++v)
            sums[r][c][v] = multiply_add(
                value, load(w + (r * kSide + c) * kWidth + v * kLanes), sums[r][c][v]);
    }
#pragma GCC unroll 3
    for (size_t r = 0; r < kSide; ++r)
#pragma GCC unroll 3
      for (size_t v = 0; v < kVectors; ++v) {
        store(rows[r] + place * kWidth + v * kLanes, sums[r][0][v]);
        sums[r][0][v] = sums[r][1][v];
        sums[r][1][v] = sums[r][2][v];
      }
  }
#pragma GCC unroll 3
  for (size_t r = 0; r < kSide; ++r)
#pragma GCC unroll 2
    for (size_t c = 0; c + 1 < kSide; ++c)
#pragma GCC unroll 3
      for (size_t v = 0; v < kVectors; ++v)
        store(rows[r] + (ring.places + c) * kWidth + v * kLanes, sums[r][c][v]);
}

inline void add_row(size_t vectors, const RowEvents& events, const float* weights, size_t channels,
                    const SumRing& ring, size_t row) {
  if (vectors == 1) return add_row<1>(events, weights, channels, ring, row);
  if constexpr (kWindowVectors > 1) {
    if (vectors == 2) return add_row<2>(events, weights, channels, ring, row);
    return add_row<3>(events, weights, channels, ring, row);
  }
}

inline void pack_windows(const ConvShape& shape, const float* w, float* packed) {
  const OutputBlocks blocks(shape.outputs, kWindowVectors);
  const size_t taps = shape.taps();
  std::fill_n(packed, shape.depth() * blocks.width(), 0.0f);
  for (size_t block = 0; block < blocks.count; ++block) {
    const size_t begin = blocks.begin(block), width = blocks.size(block);
    float* to = packed + begin * shape.depth();
    for (size_t c = 0; c < shape.channels; ++c)
      for (size_t tap = 0; tap < taps; ++tap)
        for (size_t o = begin; o < std::min(begin + width, shape.outputs); ++o)
          to[(c * taps + tap) * width + o - begin] =
              w[(o * shape.channels + c) * taps + taps - 1 - tap];
  }
}

inline size_t window_sums(const ConvShape& shape) {
  return kSide * (shape.x.input + kSide - 1) * kWindowVectors * kLanes;
}

// Output rows [first, last) of one image. Of the rows and places of sums, those of outputs begin
// where the kernel's padding does.
inline void convolve_windows(const EventConv& conv, const float* x, const float* weights,
                             const float* bias, size_t first, size_t last, float* y,
                             const EventMemory& memory) {
  const ConvShape& shape = conv.shape;
  const size_t plane = shape.y.output * shape.x.output;
  const size_t offset_y = kSide - 1 - shape.y.pad, offset_x = kSide - 1 - shape.x.pad;
  const OutputBlocks blocks(shape.outputs, kWindowVectors);
  for (size_t block = 0; block < blocks.count; ++block) {
    const size_t begin = blocks.begin(block), width = blocks.size(block);
    const SumRing ring{memory.sums, shape.x.input, width};
    const auto start = [&](size_t row) {
      for (size_t i = 0; i < shape.x.input + kSide - 1; ++i)
        std::memcpy(ring.row(row) + i * width, bias + begin, width * sizeof(float));
    };
    const size_t from = first + offset_y, to = last + offset_y;  // rows of sums that are wanted
    const size_t input = from >= kSide - 1 ? from - (kSide - 1) : 0;
    start(input);
    start(input + 1);
    for (size_t row = input; row < to; ++row) {
      start(row + 2);
      if (row < shape.y.input) {
        const RowEvents events = memory.row(row - input);
        if (block == 0) collect_row(shape, x + row * shape.x.input, events, memory);
        add_row(width / kLanes, events, weights + begin * shape.depth(), shape.channels, ring, row);
      }
      if (row < from) continue;
      store_channels_first({ring.row(row) + offset_x * width, shape.x.output, width,
                            std::min(width, shape.outputs - begin)},
                           y + begin * plane + (row - offset_y) * shape.x.output, plane, memory.ahead.output);
    }
  }
}

}  // namespace SNNC_ISA
}  // namespace snnc
