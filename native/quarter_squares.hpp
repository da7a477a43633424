// Products as quarter squares, a b = ((c a + b / c)^2 - (c a - b / c)^2) / 4, with neurons that fire
// at most once for sums and differences; c is the balance.
#pragma once

#include <algorithm>
#include <limits>

#include "spike_times.hpp"

namespace snnc {
namespace SNNC_ISA {

struct Squares {
  TimeWindow sum, difference;
  Floats balance, inverse;
  explicit Squares(const SquareWindows& w)
      : sum(w.sum), difference(w.difference), balance(all(w.balance)), inverse(all(w.inverse)) {}
};

template <class A, class B>
void multiply_squares(const A a, const B b, float* y, size_t n, const Squares w) {
  each_vector(n, [&](size_t i, size_t m) SNNC_INLINED {
    const Floats left = a.tail(i, m) * w.balance, right = b.tail(i, m) * w.inverse;
    const Floats s = fired(left + right, w.sum), d = fired(left - right, w.difference);
    store(y + i, (s * s - d * d) * 0.25f, m);
  });
}

inline void multiply_squares(RowOperand a, RowOperand b, float* y, size_t n,
                             const SquareWindows& windows) {
  const Squares w(windows);
  if (!a.each) return multiply_squares(Scalar(a.data), EachInput(b.data), y, n, w);
  b.each ? multiply_squares(EachInput(a.data), EachInput(b.data), y, n, w)
         : multiply_squares(EachInput(a.data), Scalar(b.data), y, n, w);
}

// Between which numbers some lie; any at all where one is NaN.
struct Span {
  float least = std::numeric_limits<float>::infinity(), most = -least;

  void add(const float* x, size_t n) {
    Floats low = all(least), high = all(most);
    Ints numbers = all(-1);
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const Floats v = load(x + i);
      low = smaller(v, low);
      high = larger(v, high);
      numbers &= v == v;
    }
    for (size_t lane = 0; lane < kLanes; ++lane) take(low[lane], high[lane], numbers[lane] != 0);
    for (; i < n; ++i) take(x[i], x[i], x[i] == x[i]);
  }
  void scale(float factor) {
    least *= factor;
    most *= factor;
  }

 private:
  void take(float low, float high, bool number) {
    constexpr float kAny = std::numeric_limits<float>::infinity();
    least = std::min(least, number ? low : -kAny);
    most = std::max(most, number ? high : kAny);
  }
};

// Whether the neurons for all numbers of a span fire in their window without having to be limited
// to it: times are monotonic in the numbers, also as they are rounded.
inline bool inside(float least, float most, const SpikeWindow& w) {
  return time_left(least, w) >= 0 && time_left(most, w) < w.ticks + 1;
}
inline bool inside(const Span& a, const Span& b, const SquareWindows& w) {
  return inside(a.least + b.least, a.most + b.most, w.sum) &&
         inside(a.least - b.most, a.most - b.least, w.difference);
}

// What a neuron in between adds to a sum, which only has to be near: its time is exact.
template <bool kInside>
inline Floats spike(Floats x, const TimeWindow& w) {
  Floats left = time_left(x, w);
  if (!kInside) left = smaller(w.ticks, larger(left, Floats{}));
  return multiply_add(whole_part(left), w.tick, w.low);
}

constexpr size_t kSquareVectors = 4;
constexpr size_t kSquareColumns = kSquareVectors * kLanes;

// One row times packed columns. y: room for all vectors.
template <size_t kVectors, bool kInside>
void sum_squares(const float* a, size_t k, const float* packed, const Squares& w, float* y) {
  Floats sums[kVectors] = {};
  for (size_t i = 0; i < k; ++i) {
    const Floats left = all(a[i]) * w.balance;
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      const Floats right = load(packed + (i * kVectors + v) * kLanes);
      const Floats s = spike<kInside>(left + right, w.sum);
      const Floats d = spike<kInside>(left - right, w.difference);
      sums[v] = multiply_add(-d, d, multiply_add(s, s, sums[v]));
    }
  }
#pragma GCC unroll 4
  for (size_t v = 0; v < kVectors; ++v) store(y + v * kLanes, sums[v] * 0.25f);
}

// Columns times the inverse balance as whole vectors, row by row; those past the last repeat it.
inline Span pack_columns(const SquareColumns& b, size_t width, float inverse, float* packed) {
  Span span;
  for (size_t i = 0; i < b.k; ++i) {
    float* row = packed + i * width;
    for (size_t j = 0; j < b.count; ++j) row[j] = b.data[i * b.stride + j] * inverse;
    std::fill(row + b.count, row + width, row[b.count - 1]);
  }
  span.add(packed, b.k * width);
  return span;
}

template <size_t kVectors>
void multiply_rows(const float* a, size_t rows, const SquareColumns& b, float* y,
                   const SquareWindows& windows, float* packed) {
  const Span columns = pack_columns(b, kVectors * kLanes, windows.inverse, packed);
  const Squares w(windows);
  for (size_t r = 0; r < rows; ++r, a += b.k, y += b.stride) {
    Span row;
    row.add(a, b.k);
    row.scale(windows.balance);
    float sums[kVectors * kLanes];
    inside(row, columns, windows) ? sum_squares<kVectors, true>(a, b.k, packed, w, sums)
                                  : sum_squares<kVectors, false>(a, b.k, packed, w, sums);
    std::copy_n(sums, b.count, y);
  }
}

inline void multiply_rows(const float* a, size_t rows, const SquareColumns& b, float* y,
                          const SquareWindows& windows, float* packed) {
  static constexpr decltype(&multiply_rows<1>) kernels[kSquareVectors] = {
      multiply_rows<1>, multiply_rows<2>, multiply_rows<3>, multiply_rows<4>};
  kernels[(b.count - 1) / kLanes](a, rows, b, y, windows, packed);
}

}  // namespace SNNC_ISA
}  // namespace snnc
