// Products of spike counts with int8 columns: packing, and blocks of tiles.
#pragma once

#include <algorithm>

#include "linear_finish.hpp"
#include "tile_i8.hpp"

namespace snnc {
namespace SNNC_ISA {

inline void pack_rows(const uint8_t* x, size_t rows, size_t k, uint8_t* packed) {
  for (size_t r = 0; r < rows; ++r) pack_row<false>(x + r * k, k, packed + r * row_bytes(k));
}

typedef uint8_t Bytes16 __attribute__((vector_size(16)));

// Four rows of 16 columns become 16 groups of four rows.
inline void interleave_rows(const uint8_t* const* row, uint8_t* panel) {
  Bytes16 a, b, c, d;
  std::memcpy(&a, row[0], 16);
  std::memcpy(&b, row[1], 16);
  std::memcpy(&c, row[2], 16);
  std::memcpy(&d, row[3], 16);
#define SNNC_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define SNNC_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define SNNC_LOW2 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23
#define SNNC_HIGH2 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31
  const Bytes16 ab_low = __builtin_shufflevector(a, b, SNNC_LOW);
  const Bytes16 ab_high = __builtin_shufflevector(a, b, SNNC_HIGH);
  const Bytes16 cd_low = __builtin_shufflevector(c, d, SNNC_LOW);
  const Bytes16 cd_high = __builtin_shufflevector(c, d, SNNC_HIGH);
  const Bytes16 groups[4] = {__builtin_shufflevector(ab_low, cd_low, SNNC_LOW2),
                             __builtin_shufflevector(ab_low, cd_low, SNNC_HIGH2),
                             __builtin_shufflevector(ab_high, cd_high, SNNC_LOW2),
                             __builtin_shufflevector(ab_high, cd_high, SNNC_HIGH2)};
#undef SNNC_LOW
#undef SNNC_HIGH
#undef SNNC_LOW2
#undef SNNC_HIGH2
  std::memcpy(panel, groups, sizeof groups);
}

// One group of four k of a panel from rows; columns: how many of the panel's there are.
inline void pack_group_of_rows(const ByteColumns& m, size_t k, size_t first, size_t columns,
                               uint8_t* group) {
  static constexpr uint8_t kNone[kTileColumns] = {};
  const uint8_t* row[4];
  for (size_t i = 0; i < 4; ++i)
    row[i] = k + i < m.k ? m.data + (k + i) * m.columns + first : kNone;
  size_t n = 0;
  for (; n + 16 <= columns; n += 16) {
    const uint8_t* part[4] = {row[0] + n, row[1] + n, row[2] + n, row[3] + n};
    interleave_rows(part, group + 4 * n);
  }
  for (; n < columns; ++n)
    for (size_t i = 0; i < 4; ++i) group[4 * n + i] = row[i][n];
}

inline void pack_group_of_columns(const ByteColumns& m, size_t k, size_t first, size_t columns,
                                  uint8_t* group) {
  const size_t depth = std::min<size_t>(4, m.k - k);
  for (size_t n = 0; n < columns; ++n) {
    const uint8_t* column = m.data + (first + n) * m.k + k;
    if (depth == 4)
      std::memcpy(group + 4 * n, column, 4);
    else
      std::memcpy(group + 4 * n, column, depth);
  }
}

inline void flip_panel(uint8_t* panel, size_t bytes, uint8_t flip) {
  for (size_t i = 0; i < bytes; ++i) panel[i] ^= flip;
}

// The sum of each column, by the tile itself: its product with a row of ones.
inline void sum_panel(const uint8_t* panel, size_t k, int32_t* sums) {
  static constexpr int32_t kNone[kTileColumns] = {};
  constexpr size_t kPart = 256;
  uint8_t ones[kPart], row[2 * kPart];
  std::memset(ones, 1, sizeof ones);
  std::memset(sums, 0, kTileColumns * sizeof(int32_t));
  for (size_t begin = 0; begin < k; begin += kPart) {
    const size_t part = std::min(kPart, k - begin);
    pack_row<false>(ones, part, row);
    int32_t total[kTileColumns];
    tile_i8(1, row, 0, panel + begin * kTileColumns, groups_of(part), kNone, sums, total);
    std::memcpy(sums, total, sizeof total);
  }
}

inline void pack_panel(const ByteColumns& m, size_t first, uint8_t* panel, int32_t* sums) {
  const size_t columns = std::min<size_t>(kTileColumns, m.columns - first);
  if (columns < kTileColumns || m.k % 4) std::memset(panel, 0, panel_bytes(m.k));
  for (size_t k = 0; k < m.k; k += 4) {
    uint8_t* group = panel + k * kTileColumns;
    if (m.transposed)
      pack_group_of_columns(m, k, first, columns, group);
    else
      pack_group_of_rows(m, k, first, columns, group);
  }
  if (m.flip) flip_panel(panel, panel_bytes(m.k), m.flip);
  if (sums) sum_panel(panel, m.k, sums);
}

inline void multiply(const ByteRows& rows, const BytePanels& panels, size_t first, size_t last,
                     const LinearFinish& f, size_t row) {
  static constexpr int32_t kNone[kTileRows] = {};
  const size_t groups = groups_of(rows.k), tiles = (rows.count + kTileRows - 1) / kTileRows;
  alignas(kVectorBytes) int32_t sums[kTileRows * kTileColumns];
  for (size_t panel = first; panel < last; ++panel) {
    const size_t column = panel * kTileColumns;
    const size_t columns = std::min<size_t>(kTileColumns, f.columns - column);
    for (size_t tile = 0; tile < tiles; ++tile) {
      const size_t begin = rows.count * tile / tiles, end = rows.count * (tile + 1) / tiles;
      tile_i8(end - begin, rows.data + begin * rows.stride, rows.stride,
              panels.data + panel * panel_bytes(rows.k), groups,
              rows.start ? rows.start + begin : kNone, panels.start + column, sums);
      finish<int32_t>({sums, kTileColumns, end - begin, columns, row + begin, column}, f);
    }
  }
}

}  // namespace SNNC_ISA
}  // namespace snnc
