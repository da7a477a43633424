// Rows of a channels-last convolution, gathered from its input as the integer tile reads them.
#pragma once

#include <algorithm>

#include "conv_shape.hpp"
#include "tile_i8.hpp"

namespace snnc {
namespace SNNC_ISA {

SNNC_INLINE void copy_counts(const uint8_t* __restrict from, size_t n, Entry* __restrict to) {
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
  RowWriter(const ConvRows& rows, Entry* to) : rows_(rows), to_(to) {}

  void silent(size_t taps) {
    const size_t n = taps * rows_.channels;
    std::fill(to_, to_ + n, Entry{rows_.zero_point});
    to_ += n;
  }
  void taps(const uint8_t* from, size_t taps) {
    const size_t n = taps * rows_.channels;
    copy_counts(from, n, to_);
    to_ += n;
  }

 private:
  const ConvRows& rows_;
  Entry* to_;
};

// An output position; they are numbered in the order of rows.
struct Position {
  size_t x, y, image;
};

inline Position position_of(const ConvShape& shape, size_t row) {
  const size_t line = row / shape.x.output;
  return {row % shape.x.output, line % shape.y.output, line / shape.y.output};
}

inline Position next(const ConvShape& shape, Position at) {
  if (++at.x < shape.x.output) return at;
  at.x = 0;
  if (++at.y < shape.y.output) return at;
  at.y = 0;
  ++at.image;
  return at;
}

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
  SNNC_INLINE void write(const Position& position, Writer& writer) const {
    for (size_t tap = 0; tap < shape_.y.kernel; ++tap) {
      const size_t at =
          position.y * shape_.y.stride + tap * shape_.y.dilation - shape_.y.pad;
      if (at >= shape_.y.input) {  // also where it wraps below 0
        writer.silent(shape_.x.kernel);
        continue;
      }
      const uint8_t* line = rows_.x + rows_.channel +
                            (position.image * shape_.y.input + at) * shape_.x.input * stride_;
      contiguous_ ? write_run(line, position.x, writer) : write_taps(line, position.x, writer);
    }
  }
  // Whether no tap is outside the map.
  SNNC_INLINE bool inside(const Position& position) const {
    return inside(shape_.y, position.y) && inside(shape_.x, position.x);
  }
  // Bytes between the taps of a position and of the next one on its line.
  size_t step() const { return shape_.x.stride * stride_; }

 private:
  SNNC_INLINE static bool inside(const ConvAxis& axis, size_t i) {
    const size_t first = i * axis.stride;
    return first >= axis.pad &&
           first + (axis.kernel - 1) * axis.dilation - axis.pad < axis.input;
  }

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

inline void gather_rows(const ConvRows& rows, size_t first, size_t count, uint8_t* packed) {
  const size_t depth = rows.depth(), stride = row_bytes(depth);
  const Window window(rows);
  Position at = position_of(rows.shape, first);
  for (size_t i = 0; i < count; ++i, packed += stride, at = next(rows.shape, at)) {
    Entry* row = reinterpret_cast<Entry*>(packed);
    RowWriter writer(rows, row);
    window.write(at, writer);
    std::fill(row + depth, row + stride / sizeof(Entry), Entry{0});
  }
}

}  // namespace SNNC_ISA
}  // namespace snnc
