// The integer tile: a block of sums of products of bytes, exact in int32 on every instruction set.
//
// A word holds kWordDepth successive k: four bytes where bytes can be multiplied, else two int16.
//   packed row  words_of(k) words of counts (uint8)
//   panel       [words_of(k)][kTileColumns] words of weights (int8)
//   sums[r * kTileColumns + n] = row_start[r] + column_start[n] + sum_k row[r][k] * panel[k][n]
//
// Past k a packed row holds 0, so a panel may hold anything there. Always whole panels: sums and
// column_start are kTileColumns wide. Nothing needs alignment; k may be 0. Sums wrap modulo 2^32,
// so any order is exact.
#pragma once

#include <array>
#include <utility>

#include "words.hpp"

namespace snnc {
namespace SNNC_ISA {

// The largest blocks whose sums stay in registers: 16 registers below AVX-512, 32 there (measured).
#if defined(__AVX512BW__)
constexpr int kTileRows = 12;
#elif defined(__AVX2__)
constexpr int kTileRows = 6;
#else
constexpr int kTileRows = 4;
#endif
constexpr int kTileVectors = 2;
constexpr int kTileColumns = kTileVectors * kWordLanes;
constexpr size_t kWordDepth = kHasDot4 ? 4 : 2;

inline size_t words_of(size_t k) { return (k + kWordDepth - 1) / kWordDepth; }
inline size_t row_bytes(size_t k) { return words_of(k) * 4; }
inline size_t panel_bytes(size_t k) { return words_of(k) * kTileColumns * 4; }

// Whether a row of counts is a packed row as it is.
inline bool rows_are_packed(size_t k) { return kHasDot4 && k % 4 == 0; }

inline void pack_row(const uint8_t* counts, size_t k, uint8_t* row) {
  if (kHasDot4) {
    if (k) std::memcpy(row, counts, k);
    for (size_t i = k; i % 4; ++i) row[i] = 0;
    return;
  }
  int16_t* wide = reinterpret_cast<int16_t*>(row);
  for (size_t i = 0; i < k; ++i) wide[i] = counts[i];
  if (k % 2) wide[k] = 0;
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

// Adds the products of one word of each row; offset in bytes.
template <int kRows>
SNNC_INLINE void add_word(const RowPointers<kRows>& row, size_t offset, const uint8_t* panel,
                          Words (&sums)[kRows][kTileVectors]) {
  Words weights[kTileVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kTileVectors; ++v)
    weights[v] = load_words(panel + offset * kTileColumns + v * kWordBytes);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    const Words counts = broadcast_word(row.at(r, offset));
#pragma GCC unroll 8
    for (int v = 0; v < kTileVectors; ++v)
      sums[r][v] = kHasDot4 ? dot4<false>(sums[r][v], counts, weights[v])
                            : dot2(sums[r][v], counts, weights[v]);
  }
}

template <int kRows>
void tile_of(const uint8_t* row, size_t row_stride, const uint8_t* panel, size_t words,
             const int32_t* row_start, const int32_t* column_start, int32_t* out) {
  Words sums[kRows][kTileVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kTileVectors; ++v)
      sums[r][v] =
          add_words(broadcast_word(row_start + r), load_words(column_start + v * kWordLanes));
  const RowPointers<kRows> pointers(row, row_stride);
  for (size_t offset = 0; offset < 4 * words; offset += 4) add_word(pointers, offset, panel, sums);
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
                    size_t words, const int32_t* row_start, const int32_t* column_start,
                    int32_t* sums) {
  static constexpr auto tiles = tiles_of(std::make_index_sequence<kTileRows>());
  tiles[rows - 1](row, row_stride, panel, words, row_start, column_start, sums);
}

}  // namespace SNNC_ISA
}  // namespace snnc
