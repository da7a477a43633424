// Packing of what the integer tile multiplies: rows of counts, panels of weights or counts.
#pragma once

#include <algorithm>
#include <type_traits>

#include "linear_kernels.hpp"
#include "tile_i8.hpp"

namespace snnc {
namespace SNNC_ISA {

inline void pack_rows(const uint8_t* x, size_t rows, size_t k, uint8_t* packed) {
  for (size_t r = 0; r < rows; ++r) pack_row(x + r * k, k, packed + r * row_bytes(k));
}

typedef uint8_t Bytes16 __attribute__((vector_size(16)));

#define SNNC_LOW_BYTES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define SNNC_HIGH_BYTES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define SNNC_LOW_HALVES 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23
#define SNNC_HIGH_HALVES 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31

// Four rows of 16 columns become 16 words of four rows.
inline void interleave_rows(const uint8_t* const* row, size_t column, uint8_t flip,
                            uint8_t* words) {
  Bytes16 r[4];
  for (int i = 0; i < 4; ++i) {
    std::memcpy(&r[i], row[i] + column, 16);
    r[i] ^= flip;
  }
  const Bytes16 low01 = __builtin_shufflevector(r[0], r[1], SNNC_LOW_BYTES);
  const Bytes16 high01 = __builtin_shufflevector(r[0], r[1], SNNC_HIGH_BYTES);
  const Bytes16 low23 = __builtin_shufflevector(r[2], r[3], SNNC_LOW_BYTES);
  const Bytes16 high23 = __builtin_shufflevector(r[2], r[3], SNNC_HIGH_BYTES);
  const Bytes16 mixed[4] = {__builtin_shufflevector(low01, low23, SNNC_LOW_HALVES),
                            __builtin_shufflevector(low01, low23, SNNC_HIGH_HALVES),
                            __builtin_shufflevector(high01, high23, SNNC_LOW_HALVES),
                            __builtin_shufflevector(high01, high23, SNNC_HIGH_HALVES)};
  std::memcpy(words, mixed, sizeof mixed);
}

#undef SNNC_LOW_BYTES
#undef SNNC_HIGH_BYTES
#undef SNNC_LOW_HALVES
#undef SNNC_HIGH_HALVES

// An entry of the words of a panel.
inline Entry entry_of(uint8_t byte, uint8_t flip) {
  return static_cast<Entry>(static_cast<int8_t>(byte ^ flip));
}

// A word of k for each of some columns, from rows; past the last k there are zeros.
inline void pack_words_of_rows(const ByteColumns& m, size_t k, size_t first, size_t columns,
                               uint8_t* words) {
  static constexpr uint8_t kNone[kTileColumns] = {};
  const uint8_t* row[kWordDepth];
  for (size_t i = 0; i < kWordDepth; ++i)
    row[i] = k + i < m.k ? m.data + (k + i) * m.columns + first : kNone;
  size_t n = 0;
  if constexpr (kHasDot4)
    for (; n + 16 <= columns; n += 16) interleave_rows(row, n, m.flip, words + 4 * n);
  Entry* entries = reinterpret_cast<Entry*>(words);
  for (; n < columns; ++n)
    for (size_t i = 0; i < kWordDepth; ++i)
      entries[n * kWordDepth + i] = entry_of(row[i][n], m.flip);
}

// The same where the k of a column lie together.
inline void pack_words_of_columns(const ByteColumns& m, size_t k, size_t first, size_t columns,
                                  uint8_t* words) {
  const size_t depth = std::min(kWordDepth, m.k - k);
  const uint8_t* column = m.data + first * m.k + k;
  for (size_t n = 0; n < columns; ++n, column += m.k, words += 4) {
    if (kHasDot4 && depth == kWordDepth) {
      const int32_t word = word_at(column) ^ static_cast<int32_t>(0x01010101u * m.flip);
      std::memcpy(words, &word, 4);
      continue;
    }
    Entry entries[kWordDepth] = {};
    for (size_t i = 0; i < depth; ++i) entries[i] = entry_of(column[i], m.flip);
    std::memcpy(words, entries, 4);
  }
}

// The sum of each column, by the tile itself: its product with a row of ones.
inline void sum_panel(const uint8_t* panel, size_t k, int32_t* sums) {
  static constexpr int32_t kNone[1] = {};
  constexpr size_t kPart = 256;
  uint8_t ones[kPart], row[2 * kPart];
  std::memset(ones, 1, sizeof ones);
  std::memset(sums, 0, kTileColumns * sizeof(int32_t));
  for (size_t begin = 0; begin < k; begin += kPart) {
    const size_t part = std::min(kPart, k - begin);
    pack_row(ones, part, row);
    int32_t total[kTileColumns];
    tile_i8(1, row, 0, panel + panel_bytes(begin), words_of(part), kNone, sums, total);
    std::memcpy(sums, total, sizeof total);
  }
}

inline void pack_panel(const ByteColumns& m, size_t first, uint8_t* panel, int32_t* sums) {
  const size_t columns = std::min<size_t>(kTileColumns, m.columns - first);
  if (columns < kTileColumns || m.k % kWordDepth) std::memset(panel, 0, panel_bytes(m.k));
  for (size_t k = 0; k < m.k; k += kWordDepth) {
    uint8_t* words = panel + panel_bytes(k);
    if (m.transposed)
      pack_words_of_columns(m, k, first, columns, words);
    else
      pack_words_of_rows(m, k, first, columns, words);
  }
  if (sums) sum_panel(panel, m.k, sums);
}

}  // namespace SNNC_ISA
}  // namespace snnc
