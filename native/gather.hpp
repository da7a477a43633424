// Rows of a channels-last convolution, gathered from its input as the integer tile reads them.
#pragma once

#include <algorithm>

#include "conv_shape.hpp"
#include "tile_i8.hpp"

namespace snnc {
namespace SNNC_ISA {

// An entry of a packed row.
using RowEntry = std::conditional_t<kHasDot4, uint8_t, int16_t>;

SNNC_INLINE void copy_counts(const uint8_t* __restrict from, size_t n, RowEntry* __restrict to) {
  constexpr size_t kBytes = kWordBytes;
  if (!kHasDot4) {
    for (size_t i = 0; i < n; ++i) to[i] = from[i];
  } else if (n < kBytes) {
    std::memcpy(to, from, n);
  } else {
    for (size_t i = 0; i + kBytes <= n; i += kBytes) store_words(to + i, load_words(from + i));
    store_words(to + n - kBytes, load_words(from + n - kBytes));
  }
}

// Writes a row from the inputs that Window finds, one after another.
class RowWriter {
 public:
  RowWriter(const ConvRows& rows, RowEntry* to) : rows_(rows), to_(to) {}

  void silent(size_t taps) {
    const size_t n = taps * rows_.channels;
    std::fill(to_, to_ + n, RowEntry{rows_.zero_point});
    to_ += n;
  }
  void taps(const uint8_t* from, size_t taps) {
    const size_t n = taps * rows_.channels;
    copy_counts(from, n, to_);
    to_ += n;
  }

 private:
  const ConvRows& rows_;
  RowEntry* to_;
};

// Finds the inputs of one output position, tap by tap. Writer: silent(n) takes n taps outside the
// map, taps(from, n) takes n taps that lie side by side.
class Window {
 public:
  explicit Window(const ConvRows& rows)
      : rows_(rows),
        shape_(rows.shape),
        stride_(shape_.groups * shape_.channels),
        contiguous_(stride_ == rows.channels && shape_.x.dilation == 1) {}

  template <class Writer>
  SNNC_INLINE void write(size_t image, size_t y, size_t x, Writer& writer) const {
    for (size_t tap = 0; tap < shape_.y.kernel; ++tap) {
      const size_t at = y * shape_.y.stride + tap * shape_.y.dilation - shape_.y.pad;
      if (at >= shape_.y.input) {  // also where it wraps below 0
        writer.silent(shape_.x.kernel);
        continue;
      }
      const uint8_t* line =
          rows_.x + (image * shape_.y.input + at) * shape_.x.input * stride_ + rows_.channel;
      contiguous_ ? write_run(line, x, writer) : write_taps(line, x, writer);
    }
  }

 private:
  // Taps that lie together, cut at the borders of the map.
  template <class Writer>
  SNNC_INLINE void write_run(const uint8_t* line, size_t x, Writer& writer) const {
    const ConvAxis& axis = shape_.x;
    const size_t start = x * axis.stride, end = axis.pad + axis.input;  // of the padded line
    const size_t before = start < axis.pad ? std::min(axis.kernel, axis.pad - start) : 0;
    const size_t real = start < end ? std::min(axis.kernel, end - start) : 0;
    const size_t inside = real > before ? real - before : 0;
    if (before) writer.silent(before);
    if (inside) writer.taps(line + (start + before - axis.pad) * stride_, inside);
    if (before + inside < axis.kernel) writer.silent(axis.kernel - before - inside);
  }

  template <class Writer>
  SNNC_INLINE void write_taps(const uint8_t* line, size_t x, Writer& writer) const {
    const ConvAxis& axis = shape_.x;
    for (size_t tap = 0; tap < axis.kernel; ++tap) {
      const size_t at = x * axis.stride + tap * axis.dilation - axis.pad;
      at < axis.input ? writer.taps(line + at * stride_, 1) : writer.silent(1);
    }
  }

  const ConvRows& rows_;
  const ConvShape& shape_;
  size_t stride_;  // between neighbours of the input
  bool contiguous_;
};

// Output positions in the order of rows.
class Position {
 public:
  Position(const ConvShape& shape, size_t row)
      : width_(shape.x.output),
        height_(shape.y.output),
        x(row % width_),
        y(row / width_ % height_),
        image(row / width_ / height_) {}
  void next() {
    if (++x < width_) return;
    x = 0;
    if (++y < height_) return;
    y = 0;
    ++image;
  }

 private:
  size_t width_, height_;

 public:
  size_t x, y, image;
};

inline void gather_rows(const ConvRows& rows, size_t first, size_t count, uint8_t* packed) {
  const size_t depth = rows.depth(), stride = row_bytes(depth);
  const Window window(rows);
  Position at(rows.shape, first);
  for (size_t i = 0; i < count; ++i, packed += stride, at.next()) {
    RowEntry* row = reinterpret_cast<RowEntry*>(packed);
    RowWriter writer(rows, row);
    window.write(at.image, at.y, at.x, writer);
    std::fill(row + depth, row + stride / sizeof(RowEntry), RowEntry{0});
  }
}

}  // namespace SNNC_ISA
}  // namespace snnc
