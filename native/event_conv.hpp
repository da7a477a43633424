// Convolutions by event: the weights of silent inputs are not read.
#pragma once

#include "event_window.hpp"

namespace snnc {
namespace SNNC_ISA {

#if defined(__AVX512F__)
constexpr size_t kSummedVectors = 6;  // twice as many registers
#else
constexpr size_t kSummedVectors = 3;
#endif

struct TapRows {
  const TapRow* taps;
  size_t count, width;
};

// Sums [outputs along x][kVectors], of the taps [run, run + reach) along x, added to what is there.
template <size_t kVectors>
void add_taps(const EventConv& conv, const TapRows& rows, size_t run, size_t reach, float* sums) {
  const ConvAxis& axis = conv.shape.x;
  const auto input = static_cast<ptrdiff_t>(axis.input), width = static_cast<ptrdiff_t>(rows.width);
  for (size_t place = 0; place < axis.output; ++place, sums += kVectors * kLanes) {
    const auto at = static_cast<ptrdiff_t>(place * axis.stride + run * axis.dilation) -
                    static_cast<ptrdiff_t>(axis.pad);
    const ptrdiff_t first = std::clamp<ptrdiff_t>(at, 0, input);
    const ptrdiff_t last = std::clamp<ptrdiff_t>(at + static_cast<ptrdiff_t>(reach), 0, input);
    const ptrdiff_t before = (static_cast<ptrdiff_t>(run) - at) *
                             static_cast<ptrdiff_t>(conv.shape.channels);
    Floats even[kVectors], odd[kVectors] = {};
    for (size_t v = 0; v < kVectors; ++v) even[v] = load(sums + v * kLanes);
    for (size_t t = 0; t < rows.count; ++t) {
      const RowEvents& e = rows.taps[t].events;
      const auto add = [&](size_t i, Floats* to) SNNC_INLINED {
        const ptrdiff_t row = before + static_cast<ptrdiff_t>(e.index[i]);
        const float* w = rows.taps[t].weights + row * width;
        const Floats value = all(e.values[i]);
#pragma GCC unroll 6
        for (size_t v = 0; v < kVectors; ++v)
          to[v] = multiply_add(value, load(w + v * kLanes), to[v]);
      };
      size_t i = e.begin[first];
      const size_t end = e.begin[last];
      for (; i + 1 < end; i += 2) {
        add(i, even);
        add(i + 1, odd);
      }
      if (i < end) add(i, even);
    }
    for (size_t v = 0; v < kVectors; ++v) store(sums + v * kLanes, even[v] + odd[v]);
  }
}

template <size_t kVectors>
void sum_taps(const EventConv& conv, const TapRows& rows, const float* bias, float* sums) {
  for (size_t place = 0; place < conv.shape.x.output; ++place)
    std::memcpy(sums + place * kVectors * kLanes, bias, kVectors * kLanes * sizeof(float));
  const size_t taps = conv.shape.x.kernel;
  // events of taps side by side lie together, and so do their weights
  if (conv.shape.x.dilation == 1) return add_taps<kVectors>(conv, rows, 0, taps, sums);
  for (size_t tap = 0; tap < taps; ++tap) add_taps<kVectors>(conv, rows, tap, 1, sums);
}

using SumTaps = void (*)(const EventConv&, const TapRows&, const float*, float*);

template <size_t... kIndex>
constexpr std::array<SumTaps, sizeof...(kIndex)> tap_sums(std::index_sequence<kIndex...>) {
  return {{&sum_taps<kIndex + 1>...}};
}

inline void pack_taps(const ConvShape& shape, const float* w, float* packed) {
  const size_t width = OutputBlocks(shape.outputs, kSummedVectors).width(), taps = shape.taps();
  std::fill_n(packed, shape.depth() * width, 0.0f);
  for (size_t o = 0; o < shape.outputs; ++o)
    for (size_t c = 0; c < shape.channels; ++c)
      for (size_t tap = 0; tap < taps; ++tap)
        packed[(tap * shape.channels + c) * width + o] = *w++;
}

inline void convolve_taps(const EventConv& conv, const float* x, const float* weights,
                          const float* bias, size_t first, size_t last, float* y,
                          const EventMemory& memory) {
  static constexpr auto sums = tap_sums(std::make_index_sequence<kSummedVectors>());
  const ConvShape& shape = conv.shape;
  const size_t plane = shape.y.output * shape.x.output;
  const size_t begin = conv.first_input(first), end = conv.last_input(last);
  for (size_t row = begin; row < end; ++row)
    collect_row(shape, x + row * shape.x.input, memory.row(row - begin), memory);
  const OutputBlocks blocks(shape.outputs, kSummedVectors);
  const size_t of_tap = shape.x.kernel * shape.channels * blocks.width();
  for (size_t oy = first; oy < last; ++oy)
    for (size_t block = 0; block < blocks.count; ++block) {
      const size_t o = blocks.begin(block), width = blocks.size(block);
      size_t count = 0;
      for (size_t tap = 0; tap < shape.y.kernel; ++tap) {
        const size_t at = oy * shape.y.stride + tap * shape.y.dilation;  // of the padded rows
        if (at < shape.y.pad || at - shape.y.pad >= shape.y.input) continue;
        memory.taps[count++] = {memory.row(at - shape.y.pad - begin), weights + tap * of_tap + o};
      }
      sums[width / kLanes - 1](conv, {memory.taps, count, blocks.width()}, bias + o, memory.sums);
      store_channels_first({memory.sums, shape.x.output, width, std::min(width, shape.outputs - o)},
                           y + o * plane + oy * shape.x.output, plane, memory.ahead.output);
    }
}

inline size_t event_weights(const EventConv& conv) {
  return conv.shape.depth() * OutputBlocks(conv.shape.outputs, 1).width();
}

inline size_t event_sums(const EventConv& conv) {
  return conv.window ? window_sums(conv.shape)
                     : conv.shape.x.output * kSummedVectors * kLanes;
}

inline void pack_events(const EventConv& conv, const float* w, float* packed) {
  conv.window ? pack_windows(conv.shape, w, packed) : pack_taps(conv.shape, w, packed);
}

inline void convolve_events(const EventConv& conv, const float* x, const float* weights,
                            const float* bias, size_t first, size_t last, float* y,
                            const EventMemory& memory) {
  const auto convolve = conv.window ? convolve_windows : convolve_taps;
  convolve(conv, x, weights, bias, first, last, y, memory);
}

}  // namespace SNNC_ISA
}  // namespace snnc
