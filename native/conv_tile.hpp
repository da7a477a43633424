// Register tiles of a convolution: outputs = weights x columns, one vector of outputs at a time.
//
// columns  words of 4 bytes: one float, or four spike counts of four channels. Word k of the
//          depth of position p lies at offsets[k] + p.
// weights  [blocks][depth][kHalves][kLanes] words: kLanes output channels side by side
//
// A tile of rows has positions in its vectors and broadcasts weights; a tile of positions has
// output channels in its vectors and broadcasts columns, so that no lane is lost where a map is
// small. Both read the same packed weights.
#pragma once

#include "simd.hpp"
#include "words.hpp"

namespace snnc {
namespace SNNC_ISA {
namespace conv {

// Products of float words.
struct FloatProduct {
  using Vector = Floats;
  using Sum = float;
  using Input = float;
  using Weight = float;
  static constexpr int kHalves = 1;
  static Vector load(const uint32_t* p) { return reinterpret_cast<Vector>(load_words(p)); }
  // As a word: a sum with 0, which makes a vector of a float, is not free.
  static Vector spread(const uint32_t* p) { return reinterpret_cast<Vector>(broadcast_word(p)); }
  static Vector half(Vector x, int) { return x; }
  static Vector add(Vector sum, Vector x, Vector w) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(x, w, sum);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(x, w, sum);
#else
    return sum + x * w;
#endif
  }
};

// Products of four unsigned counts with four signed weights, exact in int32. Without an
// instruction for them, weights are int16 pairs and counts are widened to meet them.
struct CountProduct {
  using Vector = Words;
  using Sum = int32_t;
  using Input = uint8_t;
  using Weight = int8_t;
  static constexpr int kHalves = kHasDot4 ? 1 : 2;
  static Vector load(const uint32_t* p) { return load_words(p); }
  static Vector spread(const uint32_t* p) { return broadcast_word(p); }
  static Vector half(Vector x, int odd) {
    if constexpr (kHasDot4) return x;
    return odd ? odd_bytes<true>(x) : even_bytes<true>(x);
  }
  static Vector add(Vector sum, Vector x, Vector w) {
    if constexpr (kHasDot4) return dot4<false>(sum, x, w);
    return dot2(sum, x, w);
  }
};

template <class Product>
SNNC_INLINE void keep(typename Product::Sum* p, typename Product::Vector v) {
  std::memcpy(p, &v, sizeof v);
}

// What a tile reads and writes. weight_stride: words from one block of weights to the next.
template <class Sum>
struct TileArguments {
  const uint32_t* weights;
  size_t weight_stride;
  const uint32_t* columns;
  const uint32_t* offsets;
  size_t depth;
  Sum* sums;
  size_t sum_stride;
};

// Both tiles ask for the columns of the positions that come next.

// sums[row][position], kRows consecutive rows of one block.
template <class Product, int kRows, int kVectors>
void tile_of_rows(const TileArguments<typename Product::Sum>& t) {
  using Vector = typename Product::Vector;
  Vector sums[kRows][kVectors] = {};
  const uint32_t* w = t.weights;
  for (size_t k = 0; k < t.depth; ++k) {
    const uint32_t* x = t.columns + t.offsets[k];
    Vector loaded[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) loaded[v] = Product::load(x + v * kLanes);
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) __builtin_prefetch(x + (v + kVectors) * kLanes);
#pragma GCC unroll 2
    for (int h = 0; h < Product::kHalves; ++h, w += kLanes) {
      Vector inputs[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) inputs[v] = Product::half(loaded[v], h);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Vector weight = Product::spread(w + r);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[r][v] = Product::add(sums[r][v], inputs[v], weight);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      keep<Product>(t.sums + r * t.sum_stride + v * kLanes, sums[r][v]);
}

// sums[position][row], kBlocks whole blocks of rows.
template <class Product, int kPositions, int kBlocks>
void tile_of_positions(const TileArguments<typename Product::Sum>& t) {
  using Vector = typename Product::Vector;
  Vector sums[kPositions][kBlocks] = {};
  const uint32_t* w = t.weights;
  for (size_t k = 0; k < t.depth; ++k) {
    const uint32_t* x = t.columns + t.offsets[k];
    __builtin_prefetch(x + 2 * kPositions);
#pragma GCC unroll 2
    for (int h = 0; h < Product::kHalves; ++h, w += kLanes) {
      Vector weights[kBlocks];
#pragma GCC unroll 16
      for (int b = 0; b < kBlocks; ++b) weights[b] = Product::load(w + b * t.weight_stride);
#pragma GCC unroll 16
      for (int p = 0; p < kPositions; ++p) {
        const Vector input = Product::half(Product::spread(x + p), h);
#pragma GCC unroll 4
        for (int b = 0; b < kBlocks; ++b) sums[p][b] = Product::add(sums[p][b], input, weights[b]);
      }
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < kPositions; ++p)
#pragma GCC unroll 16
    for (int b = 0; b < kBlocks; ++b)
      keep<Product>(t.sums + p * t.sum_stride + b * kLanes, sums[p][b]);
}

}  // namespace conv
}  // namespace SNNC_ISA
}  // namespace snnc
