// The integer tile: a block of sums of products of bytes, exact in int32 on every instruction set.
//
// In namespace snnc::SNNC_ISA, one copy an instruction set:
//
//   kTileRows, kTileColumns   the largest block; every number of rows from 1 to kTileRows is native
//   panel                     [groups][kTileColumns][4] bytes: of each column 4 successive k together
//   packed row                row_bytes(k) bytes as pack_row<SignedRows> writes them; where kPlainRows
//                             and k % 4 == 0 that is a copy of the k bytes, which serve as they are
//   tile_i8<SignedRows>(rows, row, row_stride, panel, groups, row_start, column_start, sums, stride)
//     sums[r * stride + n] = row_start[r] + column_start[n] + sum_k row[r][k] * panel[k][n]
//
// SignedRows = false: rows are uint8 (counts), the panel int8 (weights): a linear layer.
// SignedRows = true:  rows are int8 (weights), the panel uint8 (counts): a convolution.
// groups = ceil(K / 4); past K a packed row holds 0, so the panel may hold anything there.
// sums and column_start are kTileColumns wide, whatever is used of them. row_stride is in bytes, stride
// in int32. Nothing needs alignment; groups may be 0. Sums wrap modulo 2^32, so any order is exact.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "words.hpp"

namespace snnc {
namespace SNNC_ISA {

// The largest blocks whose sums stay in registers (measured; 16 registers below AVX-512, 32 there).
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

// Where dot4 is missing, a group of a row is int16: bytes 0, 2 for the even ones, then 1, 3.
template <bool SignedRows>
inline void pack_group(const uint8_t* bytes, int16_t* wide) {
  for (int i = 0; i < 4; i++) {
    const uint8_t byte = bytes[(i & 1) * 2 + (i >> 1)];
    wide[i] = SignedRows ? static_cast<int8_t>(byte) : byte;
  }
}

template <bool SignedRows>
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
    pack_group<SignedRows>(bytes + i, wide);
    std::memcpy(row + 2 * i, wide, sizeof wide);
  }
  if (k > whole) {
    pack_group<SignedRows>(last, wide);
    std::memcpy(row + 2 * whole, wide, sizeof wide);
  }
}

// Every third row has a pointer; its two followers are reached by index, which x86 adds for free.
template <int Rows>
struct RowPointers {
  const uint8_t* third[(Rows + 2) / 3];
  size_t stride;

  SNNC_INLINE RowPointers(const uint8_t* row, size_t row_stride) : stride(row_stride) {
#pragma GCC unroll 8
    for (int i = 0; i < (Rows + 2) / 3; i++) {
      third[i] = row + 3 * i * row_stride;
      asm("" : "+r"(third[i]));  // else gcc computes every address anew in the loop
    }
  }
  SNNC_INLINE const uint8_t* at(int r, size_t offset) const { return third[r / 3] + r % 3 * stride + offset; }
};

// Adds the products of one group of four k; offset is 4 times the group.
template <bool SignedRows, int Rows>
SNNC_INLINE void add_group(const RowPointers<Rows>& row, size_t offset, const uint8_t* panel,
                           Words (&sums)[Rows][kTileVectors]) {
  Words four[kTileVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kTileVectors; v++) four[v] = load_words(panel + offset * kTileColumns + v * kWordBytes);
  if constexpr (kHasDot4) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; r++) {
      const Words a = broadcast_word(row.at(r, offset));
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; v++) sums[r][v] = dot4<SignedRows>(sums[r][v], a, four[v]);
    }
  } else {
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; odd++) {
      Words two[kTileVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; v++)
        two[v] = odd ? odd_bytes<SignedRows>(four[v]) : even_bytes<SignedRows>(four[v]);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; r++) {
        const Words a = broadcast_word(row.at(r, 2 * offset) + 4 * odd);
#pragma GCC unroll 8
        for (int v = 0; v < kTileVectors; v++) sums[r][v] = dot2(sums[r][v], a, two[v]);
      }
    }
  }
}

template <bool SignedRows, int Rows>
void tile_of(const uint8_t* row, size_t row_stride, const uint8_t* panel, size_t groups, const int32_t* row_start,
             const int32_t* column_start, int32_t* out, size_t stride) {
  Words sums[Rows][kTileVectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; r++)
#pragma GCC unroll 8
    for (int v = 0; v < kTileVectors; v++)
      sums[r][v] = add_words(broadcast_word(row_start + r), load_words(column_start + v * kWordLanes));
  const RowPointers<Rows> pointers(row, row_stride);
  for (size_t offset = 0; offset < 4 * groups; offset += 4)
    add_group<SignedRows, Rows>(pointers, offset, panel, sums);
#pragma GCC unroll 16
  for (int r = 0; r < Rows; r++)
#pragma GCC unroll 8
    for (int v = 0; v < kTileVectors; v++) store_words(out + r * stride + v * kWordLanes, sums[r][v]);
}

using TileI8 = void (*)(const uint8_t*, size_t, const uint8_t*, size_t, const int32_t*, const int32_t*, int32_t*, size_t);

template <bool SignedRows, size_t... Index>
constexpr std::array<TileI8, sizeof...(Index)> tiles_of(std::index_sequence<Index...>) {
  return {{&tile_of<SignedRows, static_cast<int>(Index) + 1>...}};
}

template <bool SignedRows>
inline void tile_i8(size_t rows, const uint8_t* row, size_t row_stride, const uint8_t* panel, size_t groups,
                    const int32_t* row_start, const int32_t* column_start, int32_t* sums, size_t stride) {
  static constexpr auto tiles = tiles_of<SignedRows>(std::make_index_sequence<kTileRows>());
  tiles[rows - 1](row, row_stride, panel, groups, row_start, column_start, sums, stride);
}

}  // namespace SNNC_ISA
}  // namespace snnc
