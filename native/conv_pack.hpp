// What a convolution makes of its operands before it multiplies: weights in blocks of output
// channels, inputs as a padded image of words, and the columns of a chunk of positions.
#pragma once

#include "conv_shape.hpp"
#include "conv_tile.hpp"

namespace snnc {
namespace SNNC_ISA {
namespace conv {

constexpr size_t up_to_multiple(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }
constexpr size_t parts_of(size_t n, size_t unit) { return (n + unit - 1) / unit; }

// Channels that share a word: floats stand alone, counts lie four together.
template <class Product>
constexpr size_t kChannelsPerWord = sizeof(typename Product::Input) == 1 ? 4 : 1;

// Words that are multiplied for one output.
template <class Product>
size_t depth_of(const ConvShape& s) {
  return parts_of(s.channels, kChannelsPerWord<Product>) * s.y.kernel * s.x.kernel;
}

template <class Product>
size_t block_words(const ConvShape& s) {
  return depth_of<Product>(s) * Product::kHalves * kLanes;
}

template <class Product>
size_t weight_words(const ConvShape& s) {
  return s.groups * parts_of(s.outputs, kLanes) * block_words<Product>(s);
}

inline void put_weight(FloatProduct, const float* w, size_t, size_t, uint32_t* packed) {
  std::memcpy(packed, w, sizeof *w);
}
// Four channels; `apart` is the distance between them, `present` how many there are.
inline void put_weight(CountProduct, const int8_t* w, size_t apart, size_t present,
                       uint32_t* packed) {
  int8_t four[4] = {};
  for (size_t i = 0; i < present; ++i) four[i] = w[i * apart];
  if (CountProduct::kHalves == 1) return std::memcpy(packed, four, sizeof four), void();
  for (int odd = 0; odd < 2; ++odd) {
    const int16_t pair[2] = {four[odd], four[odd + 2]};
    std::memcpy(packed + odd * kLanes, pair, sizeof pair);
  }
}

// From [outputs over all groups][channels][kernel] to [groups][blocks][depth][halves][lanes].
template <class Product>
void pack_weights(const ConvShape& s, const void* weights, uint32_t* packed) {
  const auto* w = static_cast<const typename Product::Weight*>(weights);
  const size_t taps = s.y.kernel * s.x.kernel, together = kChannelsPerWord<Product>;
  std::memset(packed, 0, weight_words<Product>(s) * sizeof *packed);
  const size_t blocks = parts_of(s.outputs, kLanes);
  for (size_t o = 0; o < s.groups * s.outputs; ++o) {
    const size_t in_group = o % s.outputs;
    const size_t block = o / s.outputs * blocks + in_group / kLanes;
    uint32_t* to = packed + block * block_words<Product>(s) + in_group % kLanes;
    for (size_t c = 0; c < s.channels; c += together) {
      const size_t left = s.channels - c, present = left < together ? left : together;
      for (size_t tap = 0; tap < taps; ++tap, to += Product::kHalves * kLanes)
        put_weight(Product{}, w + (o * s.channels + c) * taps + tap, taps, present, to);
    }
  }
}

// The input as planes of words with their padding.
struct Image {
  size_t height, width, planes;  // planes of one group
  size_t area() const { return height * width; }
};

inline size_t reach(const ConvAxis& a) {
  return (a.output - 1) * a.stride + (a.kernel - 1) * a.dilation + 1;
}

// Whether kernels read the input itself.
template <class Product>
bool reads_input(const ConvShape& s) {
  return kChannelsPerWord<Product> == 1 && !s.padded();
}

template <class Product>
Image image_of(const ConvShape& s) {
  const size_t planes = parts_of(s.channels, kChannelsPerWord<Product>);
  if (reads_input<Product>(s)) return {s.y.input, s.x.input, planes};
  return {reach(s.y), reach(s.x), planes};
}

// Columns are copied in whole vectors, at most two at a time: so far a copy may read too much.
constexpr size_t kSlack = 2 * kLanes;

template <class Product>
size_t image_words(const ConvShape& s) {
  if (reads_input<Product>(s)) return 0;
  const Image image = image_of<Product>(s);
  return s.batch * s.groups * image.planes * image.area() + kSlack;
}

template <class Product>
size_t image_tasks(const ConvShape& s) {
  return s.batch * s.groups * image_of<Product>(s).planes;
}

// One row of a plane from rows of the channels that it holds, `apart` from each other.
inline void fill_row(const float* x, size_t, size_t, uint8_t, size_t n, uint32_t* to) {
  std::memcpy(to, x, n * sizeof *to);
}
inline void fill_row(const uint8_t* x, size_t apart, size_t present, uint8_t zero, size_t n,
                     uint32_t* to) {
  const uint8_t *a = x, *b = x + apart, *c = x + 2 * apart, *d = x + 3 * apart;
  if (present == 4) {
    for (size_t i = 0; i < n; ++i)
      to[i] = a[i] | uint32_t{b[i]} << 8 | uint32_t{c[i]} << 16 | uint32_t{d[i]} << 24;
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    uint32_t word = zero * 0x01010100u | a[i];
    if (present > 1) word = (word & ~0xff00u) | uint32_t{b[i]} << 8;
    if (present > 2) word = (word & ~0xff0000u) | uint32_t{c[i]} << 16;
    to[i] = word;
  }
}

template <class Product>
void fill_image(const ConvShape& s, const void* input, uint8_t zero, uint32_t* words,
                size_t task) {
  const Image image = image_of<Product>(s);
  const size_t group = task / image.planes, c = task % image.planes * kChannelsPerWord<Product>;
  const size_t left = s.channels - c;
  const size_t present = left < kChannelsPerWord<Product> ? left : kChannelsPerWord<Product>;
  const auto* x = static_cast<const typename Product::Input*>(input) +
                  (group * s.channels + c) * s.input_area();
  uint32_t* to = words + task * image.area();
  const uint32_t border = zero * 0x01010101u;  // 0.0f where inputs are floats
  const size_t before = s.x.pad < image.width ? s.x.pad : image.width;
  const size_t inside = image.width - before < s.x.input ? image.width - before : s.x.input;
  if (before == 0 && inside == s.x.input && image.width == inside && s.y.pad == 0 &&
      image.height == s.y.input)
    return fill_row(x, s.input_area(), present, zero, image.area(), to);
  for (size_t y = 0; y < image.height; ++y, to += image.width) {
    const bool outside = y < s.y.pad || y - s.y.pad >= s.y.input;
    const size_t filled = outside ? 0 : inside;
    if (!outside)
      fill_row(x + (y - s.y.pad) * s.x.input, s.input_area(), present, zero, inside, to + before);
    for (size_t i = 0; i < (outside ? 0 : before); ++i) to[i] = border;
    for (size_t i = outside ? 0 : before + filled; i < image.width; ++i) to[i] = border;
  }
}

// How the columns of a chunk are laid out. Kernel rows that differ by whole strides read the same
// columns, some rows of positions apart, so one copy serves them all: copies are numbered
// [plane][kernel column][phase of the kernel row], and hold `halo` more rows of positions.
struct ColumnLayout {
  size_t phases, halo, copies;
  static ColumnLayout of(const ConvShape& s, size_t planes) {
    ColumnLayout c{};
    const size_t rows = (s.y.kernel - 1) * s.y.dilation;  // from the first kernel row to the last
    c.phases = rows + 1 < s.y.stride ? rows + 1 : s.y.stride;
    c.halo = rows / s.y.stride * s.x.output;
    c.copies = planes * s.x.kernel * c.phases;
    return c;
  }
};

// offsets[depth] of the words of a position; stride: from one copy, or plane, to the next.
template <class Product>
void fill_offsets(const ConvShape& s, size_t stride, uint32_t* offsets) {
  const size_t planes = parts_of(s.channels, kChannelsPerWord<Product>);
  const ColumnLayout layout = ColumnLayout::of(s, planes);
  for (size_t c = 0; c < planes; ++c)
    for (size_t ky = 0; ky < s.y.kernel; ++ky)
      for (size_t kx = 0; kx < s.x.kernel; ++kx) {
        const size_t row = ky * s.y.dilation;
        const size_t copy = (c * s.x.kernel + kx) * layout.phases + row % s.y.stride;
        *offsets++ =
            static_cast<uint32_t>(copy * stride + row / s.y.stride * s.x.output);
      }
}

// A run of output positions in one row: the first input of its first kernel column in a plane.
struct Piece {
  size_t row, column, length;
};

inline size_t pieces_of(const ConvShape& s, size_t position, size_t n, Piece* pieces) {
  size_t count = 0;
  while (n) {
    const size_t y = position / s.x.output, x = position % s.x.output;
    const size_t left = s.x.output - x, length = left < n ? left : n;
    pieces[count++] = {y * s.y.stride, x * s.x.stride, length};
    position += length;
    n -= length;
  }
  return count;
}

// May write up to a vector too much, and read up to kSlack too much where that is before `end`.
inline void copy_piece(const uint32_t* from, size_t n, size_t stride, const uint32_t* end,
                       uint32_t* to) {
  if (stride == 1 && from + up_to_multiple(n, kLanes) <= end) {
    for (size_t i = 0; i < n; i += kLanes) std::memcpy(to + i, from + i, kVectorBytes);
  } else if (stride == 2 && from + 2 * up_to_multiple(n, kLanes) <= end) {
    for (size_t i = 0; i < n; i += kLanes)
      for (size_t j = 0; j < kLanes; ++j) to[i + j] = from[2 * (i + j)];
  } else {
    for (size_t i = 0; i < n; ++i) to[i] = from[i * stride];
  }
}

// The copies of positions [position, position + n + halo) of one group's image.
template <class Product>
void fill_columns(const ConvShape& s, const uint32_t* group, const uint32_t* end, size_t position,
                  size_t n, uint32_t* columns, size_t stride, Piece* pieces) {
  const Image image = image_of<Product>(s);
  const ColumnLayout layout = ColumnLayout::of(s, image.planes);
  const size_t count = pieces_of(s, position, n + layout.halo, pieces);
  for (size_t c = 0; c < image.planes; ++c, group += image.area())
    for (size_t kx = 0; kx < s.x.kernel; ++kx)
      for (size_t phase = 0; phase < layout.phases; ++phase, columns += stride) {
        uint32_t* to = columns;
        for (size_t i = 0; i < count; to += pieces[i++].length) {
          const size_t row = pieces[i].row + phase;
          if (row >= image.height) break;  // that no position of this chunk reads
          const uint32_t* from = group + row * image.width + pieces[i].column + kx * s.x.dilation;
          copy_piece(from, pieces[i].length, s.x.stride, end, to);
        }
      }
}

}  // namespace conv
}  // namespace SNNC_ISA
}  // namespace snnc
