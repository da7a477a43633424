// The integer tile: a block of sums of products of bytes, exact in int32 on every instruction set.
//
//   packed row  row_bytes(k) bytes as pack_row writes them; where kPlainRows and k % 4 == 0 that is
//               a copy of the k bytes, which serve as they are
//   panel       [groups_of(k)][kTileColumns][4]: of each column 4 successive k together, int8
//   sums[r * kTileColumns + n] = row_start[r] + column_start[n] + sum_k row[r][k] * panel[k][n]
//
// Rows are uint8. Past k a packed row holds 0, so a panel may hold anything there. Always whole
// panels: sums and column_start are kTileColumns wide. Nothing needs alignment; k may be 0. Sums
// wrap modulo 2^32, so any order is exact.
#pragma once

#include <array>
#include <utility>

#include "words.hpp"

namespace snnc {
namespace SNNC_ISA {

// The largest blocks whose sums stay in registers: 16 registers below AVX-512, 32 there (measured).
#if defined(__AVX512BW__)
constexpr int kTileRows = 12;
#elif defined(__AVXVNNI__)
constexpr int kTileRows = 6;
#elif defined(__AVX2__)
constexpr int kTileRows = 5;
#else
constexpr int kTileRows = 4;
#endif
constexpr int kTileVectors = 2;
constexpr int kTileColumns = kTileVectors * kWordLanes;
constexpr bool kPlainRows = kHasDot4;

inline size_t groups_of(size_t k) { return (k + 3) / 4; }
inline size_t row_bytes(size_t k) { return groups_of(k) * (kPlainRows ? 4 : 8); }
inline size_t panel_bytes(size_t k) { return groups_of(k) * kTileColumns * 4; }

// Without dot4 a group of a row is four int16: the even bytes, then the odd ones, as dot2 wants.
template <bool kSigned>
inline void pack_group(const uint8_t* bytes, int16_t* wide) {
  for (int i = 0; i < 4; ++i) {
    const uint8_t byte = bytes[(i & 1) * 2 + (i >> 1)];
    wide[i] = kSigned ? static_cast<int8_t>(byte) : byte;
  }
}

template <bool kSigned>
inline void pack_row(const uint8_t* bytes, size_t k, uint8_t* row) {
  const size_t whole = k / 4 * 4;
  uint8_t last[4] = {0, 0, 0, 0};
  if (k > whole) std::memcpy(last, bytes + whole, k - whole);
  if (kPlainRows) {
    if (whole) std::memcpy(row, bytes, whole);
    if (k > whole) std::memcpy(row + whole, last, 4);
    return;
  }
  int16_t wide[4];
  for (size_t i = 0; i < whole; i += 4) {
    pack_group<kSigned>(bytes + i, wide);
    std::memcpy(row + 2 * i, wide, sizeof wide);
  }
  if (k == whole) return;
  pack_group<kSigned>(last, wide);
  std::memcpy(row + 2 * whole, wide, sizeof wide);
}

// Every third row has a pointer; its two followers are reached by index, which x86 adds for free.
template <int kRows>
struct RowPointers {
  const uint8_t* third[(kRows + 2) / 3];
  size_t stride;

  SNNC_INLINE RowPointers(const uint8_t* row, size_t row_stride) : stride(row_stride) {
#pragma GCC unroll 8
    for (int i = 0; i < (kRows + 2) / 3; ++i) {
      third[i] = row + 3 * i * row_stride;
      asm("" : "+r"(third[i]));  // else gcc computes every address anew in the loop
    }
  }
  SNNC_INLINE const uint8_t* at(int r, size_t offset) const {
    return third[r / 3] + r % 3 * stride + offset;
  }
};

// Adds the products of the group of four k that begins at k.
template <int kRows>
SNNC_INLINE void add_group(const RowPointers<kRows>& row, size_t k, const uint8_t* panel,
                           Words (&sums)[kRows][kTileVectors]) {
  Words four[kTileVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kTileVectors; ++v)
    four[v] = load_words(panel + k * kTileColumns + v * kWordBytes);
  if constexpr (kHasDot4) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Words a = broadcast_word(row.at(r, k));
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v) sums[r][v] = dot4<false>(sums[r][v], a, four[v]);
    }
  } else {
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; ++odd) {
      Words two[kTileVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v)
        two[v] = odd ? odd_bytes<false>(four[v]) : even_bytes<false>(four[v]);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Words a = broadcast_word(row.at(r, 2 * k) + 4 * odd);
#pragma GCC unroll 8
        for (int v = 0; v < kTileVectors; ++v) sums[r][v] = dot2(sums[r][v], a, two[v]);
      }
    }
  }
}

template <int kRows>
void tile_of(const uint8_t* row, size_t row_stride, const uint8_t* panel, size_t groups,
             const int32_t* row_start, const int32_t* column_start, int32_t* out) {
  Words sums[kRows][kTileVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kTileVectors; ++v)
      sums[r][v] =
          add_words(broadcast_word(row_start + r), load_words(column_start + v * kWordLanes));
  const RowPointers<kRows> pointers(row, row_stride);
  for (size_t k = 0; k < 4 * groups; k += 4) add_group<kRows>(pointers, k, panel, sums);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kTileVectors; ++v)
      store_words(out + r * kTileColumns + v * kWordLanes, sums[r][v]);
}

using TileI8 = void (*)(const uint8_t*, size_t, const uint8_t*, size_t, const int32_t*,
                        const int32_t*, int32_t*);

template <size_t... kIndex>
constexpr std::array<TileI8, sizeof...(kIndex)> tiles_of(std::index_sequence<kIndex...>) {
  return {{&tile_of<static_cast<int>(kIndex) + 1>...}};
}

// rows: from 1 to kTileRows. row_stride in bytes.
inline void tile_i8(size_t rows, const uint8_t* row, size_t row_stride, const uint8_t* panel,
                    size_t groups, const int32_t* row_start, const int32_t* column_start,
                    int32_t* sums) {
  static constexpr auto tiles = tiles_of(std::make_index_sequence<kTileRows>());
  tiles[rows - 1](row, row_stride, panel, groups, row_start, column_start, sums);
}

}  // namespace SNNC_ISA
}  // namespace snnc
