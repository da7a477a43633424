// Products of spike counts with int8 columns, as blocks of tiles.
#pragma once

#include <algorithm>

#include "linear_finish.hpp"
#include "panels.hpp"

namespace snnc {
namespace SNNC_ISA {

// What will be added to the sums of a tile, on its way to the cache while they are computed.
inline void prefetch_addend(const LinearFinish& f, size_t row, size_t rows, size_t column,
                            size_t columns) {
  const float* addend = f.addend + row * f.stride + column;
  for (size_t r = 0; r < rows; ++r, addend += f.stride)
    for (size_t c = 0; c < columns; c += 16) __builtin_prefetch(addend + c);
}

template <class Finish>
void multiply(const ByteRows& rows, const BytePanels& panels, size_t first, size_t last,
              const LinearFinish& f, size_t row, const Finish& finish) {
  static constexpr int32_t kNone[kTileRows] = {};
  const size_t words = words_of(rows.k), tiles = (rows.count + kTileRows - 1) / kTileRows;
  alignas(kVectorBytes) int32_t sums[kTileRows * kTileColumns];
  for (size_t panel = first; panel < last; ++panel) {
    const size_t column = panel * kTileColumns;
    const size_t columns = std::min<size_t>(kTileColumns, f.columns - column);
    for (size_t tile = 0; tile < tiles; ++tile) {
      const size_t begin = rows.count * tile / tiles, end = rows.count * (tile + 1) / tiles;
      if (f.addend) prefetch_addend(f, row + begin, end - begin, column, columns);
      tile_i8(end - begin, rows.data + begin * rows.stride, rows.stride,
              panels.data + panel * panel_bytes(rows.k), words,
              rows.start ? rows.start + begin : kNone, panels.start + column, sums);
      finish({sums, kTileColumns, end - begin, columns, row + begin, column});
    }
  }
}

inline void multiply(const ByteRows& rows, const BytePanels& panels, size_t first, size_t last,
                     const LinearFinish& f, size_t row) {
  with_finish(f, [&](const auto& finish) { multiply(rows, panels, first, last, f, row, finish); });
}

}  // namespace SNNC_ISA
}  // namespace snnc
