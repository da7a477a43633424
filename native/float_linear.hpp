// Float rows times float weights as they lie: by event, where most inputs are silent, or in blocks.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "linear_finish.hpp"

namespace snnc {
namespace SNNC_ISA {

constexpr size_t kFloatColumns = 1024;

// Adds four weight rows times their inputs.
inline void add_float_rows(const float* const* row, const float* inputs, size_t columns,
                           float* sums) {
  const Floats a = all(inputs[0]), b = all(inputs[1]), c = all(inputs[2]), d = all(inputs[3]);
  size_t n = 0;
  for (; n + kLanes <= columns; n += kLanes) {
    Floats sum = load(sums + n);
    sum = multiply_add(a, load(row[0] + n), sum);
    sum = multiply_add(b, load(row[1] + n), sum);
    sum = multiply_add(c, load(row[2] + n), sum);
    sum = multiply_add(d, load(row[3] + n), sum);
    store(sums + n, sum);
  }
  for (; n < columns; ++n)
    for (int i = 0; i < 4; ++i) sums[n] += inputs[i] * row[i][n];
}

inline void multiply_float_events(const FloatEvents& e, const float* w, size_t first, size_t last,
                                  const LinearFinish& f, size_t row) {
  const FloatFinish finish(f);
  alignas(kVectorBytes) float sums[kFloatColumns + kLanes] = {};
  for (size_t n = first; n < last; n += kFloatColumns) {
    const size_t columns = std::min(kFloatColumns, last - n);
    std::memset(sums, 0, columns * sizeof(float));
    for (size_t i = 0; i < e.count; i += 4) {
      const float* weights[4];
      float inputs[4];
      for (size_t j = 0; j < 4; ++j) {  // past the end: the first again, times nothing
        const bool real = i + j < e.count;
        weights[j] = w + e.index[real ? i + j : i] * f.columns + n;
        inputs[j] = real ? e.values[i + j] : 0.0f;
      }
      add_float_rows(weights, inputs, columns, sums);
    }
    finish({sums, 0, 1, columns, row, n});
  }
}

// Blocks whose sums stay in registers.
#if defined(__AVX512F__)
constexpr int kFloatRows = 12;
#elif defined(__AVX2__)
constexpr int kFloatRows = 6;
#else
constexpr int kFloatRows = 4;
#endif
constexpr int kFloatVectors = 2;
constexpr size_t kFloatBlock = kFloatVectors * kLanes;

template <int kRows>
void sum_float_block(const float* x, size_t k, const float* w, size_t stride, float* out) {
  Floats sums[kRows][kFloatVectors] = {};
  for (size_t i = 0; i < k; ++i) {
    Floats weights[kFloatVectors];
    for (int v = 0; v < kFloatVectors; ++v) weights[v] = load(w + i * stride + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kFloatVectors; ++v)
        sums[r][v] = multiply_add(all(x[r * k + i]), weights[v], sums[r][v]);
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kFloatVectors; ++v) store(out + r * kFloatBlock + v * kLanes, sums[r][v]);
}

using FloatBlock = void (*)(const float*, size_t, const float*, size_t, float*);

template <size_t... kIndex>
constexpr std::array<FloatBlock, sizeof...(kIndex)> float_blocks(std::index_sequence<kIndex...>) {
  return {{&sum_float_block<static_cast<int>(kIndex) + 1>...}};
}

// The same for a few columns.
inline void sum_float_columns(const float* x, size_t rows, size_t k, const float* w, size_t stride,
                              size_t columns, float* out) {
  for (size_t r = 0; r < rows; ++r) {
    float* sums = out + r * kFloatBlock;
    std::memset(sums, 0, columns * sizeof(float));
    for (size_t i = 0; i < k; ++i)
      for (size_t n = 0; n < columns; ++n) sums[n] += x[r * k + i] * w[i * stride + n];
  }
}

inline void multiply_floats(const float* x, size_t rows, size_t k, const float* w, size_t first,
                            size_t last, const LinearFinish& f, size_t row) {
  static constexpr auto blocks = float_blocks(std::make_index_sequence<kFloatRows>());
  alignas(kVectorBytes) float sums[kFloatRows * kFloatBlock + kLanes] = {};
  const FloatFinish finish(f);
  const size_t parts = (rows + kFloatRows - 1) / kFloatRows;
  const bool whole = last - first >= kFloatBlock;
  for (size_t n = first; n < last; n += kFloatBlock) {
    // a block at the end lies over a part of the one before
    const size_t begin = whole ? std::min(n, last - kFloatBlock) : n;
    const size_t columns = std::min(kFloatBlock, last - n);
    for (size_t part = 0; part < parts; ++part) {
      const size_t r = rows * part / parts, count = rows * (part + 1) / parts - r;
      if (whole)
        blocks[count - 1](x + r * k, k, w + begin, f.columns, sums);
      else
        sum_float_columns(x + r * k, count, k, w + n, f.columns, columns, sums);
      finish({sums + (n - begin), kFloatBlock, count, columns, row + r, n});
    }
  }
}

}  // namespace SNNC_ISA
}  // namespace snnc
