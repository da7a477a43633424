// One row of spike counts times int8 weights as they lie: rows of silent inputs are never read.
#pragma once

#include "linear_finish.hpp"
#include "tile_i8.hpp"

namespace snnc {
namespace SNNC_ISA {

// Vectors of weights whose sums (four vectors each) stay in registers.
constexpr int kEventVectors = kVectorBytes == 64 ? 4 : 2;
constexpr size_t kEventColumns = kEventVectors * kWordBytes;
constexpr size_t kPrefetchGroups = 4;

// Sums of the columns of one vector of weights: part i holds the columns 4i .. 4i + 3 of every 16.
struct EventSums {
  Words part[4];
};

// Adds four weight rows times their inputs. Where bytes multiply, an input that is signed wants
// unsigned weights: they come 128 too large, which the caller takes back by the sum of inputs.
template <bool kSigned>
SNNC_INLINE void add_rows(EventSums& sums, const Words (&row)[4], const uint8_t* inputs) {
  const Words ab_low = interleave_low_bytes(row[0], row[1]);
  const Words ab_high = interleave_high_bytes(row[0], row[1]);
  const Words cd_low = interleave_low_bytes(row[2], row[3]);
  const Words cd_high = interleave_high_bytes(row[2], row[3]);
  const Words four[4] = {
      interleave_low_halves(ab_low, cd_low), interleave_high_halves(ab_low, cd_low),
      interleave_low_halves(ab_high, cd_high), interleave_high_halves(ab_high, cd_high)};
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    if constexpr (kHasDot4) {
      sums.part[i] = dot4<kSigned>(sums.part[i], broadcast_word(inputs), four[i]);
    } else {
      sums.part[i] = dot2(sums.part[i], broadcast_word(inputs), even_bytes<false>(four[i]));
      sums.part[i] = dot2(sums.part[i], broadcast_word(inputs + 4), odd_bytes<false>(four[i]));
    }
  }
}

inline void store_sums(const EventSums& sums, int32_t* out) {
  alignas(kVectorBytes) int32_t part[kWordLanes];
  for (int i = 0; i < 4; ++i) {
    store_words(part, sums.part[i]);
    for (int lane = 0; lane < kWordLanes / 4; ++lane)
      std::memcpy(out + 16 * lane + 4 * i, part + 4 * lane, 16);
  }
}

// sums of kVectors vectors of columns; w: the weights of input 0 there.
template <bool kSigned, int kVectors>
void sum_events(const Events& e, const int8_t* w, size_t stride, int32_t* out) {
  const bool flip = kHasDot4 && kSigned;
  const int32_t start = flip ? -128 * e.sum : 0;
  const int32_t sign = flip ? static_cast<int32_t>(0x80808080) : 0;
  const Words signs = broadcast_word(&sign);
  EventSums sums[kVectors];
  for (EventSums& s : sums)
    for (Words& part : s.part) part = broadcast_word(&start);
  for (size_t g = 0; g < e.groups; ++g) {
    const int8_t* row[4];
    for (int i = 0; i < 4; ++i) row[i] = w + e.index[4 * g + i] * stride;
    if (g + kPrefetchGroups < e.groups)
      for (int i = 0; i < 4; ++i) {
        const int8_t* later = w + e.index[4 * (g + kPrefetchGroups) + i] * stride;
        for (int line = 0; line < kVectors * kWordBytes; line += 64) __builtin_prefetch(later + line);
      }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Words four[4];
      for (int i = 0; i < 4; ++i) {
        four[i] = load_words(row[i] + v * kWordBytes);
        if (flip) four[i] ^= signs;
      }
      add_rows<kSigned>(sums[v], four, e.values + g * row_bytes(4));
    }
  }
  for (int v = 0; v < kVectors; ++v) store_sums(sums[v], out + v * kWordBytes);
}

// The same for a few columns.
inline void sum_events(const Events& e, const int8_t* w, size_t stride, size_t columns,
                       int32_t* out) {
  std::memset(out, 0, columns * sizeof(int32_t));
  for (size_t g = 0; g < e.groups; ++g)
    for (size_t i = 0; i < 4; ++i) {
      const uint8_t* value = e.values + g * row_bytes(4);
      int32_t input;
      if (kPlainRows) {
        input = e.is_signed ? static_cast<int8_t>(value[i]) : value[i];
      } else {
        int16_t wide[4];
        std::memcpy(wide, value, sizeof wide);
        input = wide[(i & 1) * 2 + (i >> 1)];
      }
      const int8_t* row = w + e.index[4 * g + i] * stride;
      for (size_t n = 0; n < columns; ++n) out[n] += input * row[n];
    }
}

template <bool kSigned>
void multiply_events(const Events& e, const int8_t* w, size_t first, size_t last,
                     const LinearFinish& f, size_t row) {
  alignas(kVectorBytes) int32_t sums[kEventColumns + kLanes] = {};
  const auto finish_columns = [&](size_t skip, size_t column, size_t columns) {
    finish<int32_t>({sums + skip, 0, 1, columns, row, column}, f);
  };
  size_t n = first;
  for (; n + kEventColumns <= last; n += kEventColumns) {
    sum_events<kSigned, kEventVectors>(e, w + n, f.columns, sums);
    finish_columns(0, n, kEventColumns);
  }
  for (; n + kWordBytes <= last; n += kWordBytes) {
    sum_events<kSigned, 1>(e, w + n, f.columns, sums);
    finish_columns(0, n, kWordBytes);
  }
  if (n == last) return;
  if (last - first >= kWordBytes) {  // the last whole vector, of which some columns are done
    sum_events<kSigned, 1>(e, w + last - kWordBytes, f.columns, sums);
    finish_columns(kWordBytes - (last - n), n, last - n);
  } else {
    sum_events(e, w + n, f.columns, last - n, sums);
    finish_columns(0, n, last - n);
  }
}

inline void multiply_events(const Events& e, const int8_t* w, size_t first, size_t last,
                            const LinearFinish& f, size_t row) {
  return e.is_signed ? multiply_events<true>(e, w, first, last, f, row)
                     : multiply_events<false>(e, w, first, last, f, row);
}

}  // namespace SNNC_ISA
}  // namespace snnc
