// One row of spike counts times int8 weights as they lie: rows of silent inputs are never read.
#pragma once

#include <algorithm>

#include "linear_finish.hpp"
#include "words.hpp"

namespace snnc {
namespace SNNC_ISA {

constexpr size_t kGroupBytes = kHasDot4 ? 4 : 8;

// Four inputs as add_rows wants them: bytes, or int16 with the even ones first.
template <bool kSigned>
inline void pack_group(const uint8_t* values, uint8_t* packed) {
  if (kHasDot4) {
    std::memcpy(packed, values, 4);
    return;
  }
  int16_t wide[4];
  for (int i = 0; i < 4; ++i) {
    const uint8_t value = values[(i & 1) * 2 + (i >> 1)];
    wide[i] = kSigned ? static_cast<int8_t>(value) : value;
  }
  std::memcpy(packed, wide, sizeof wide);
}

inline Events collect_events(const uint8_t* x, size_t k, uint8_t zero_point, uint32_t* index,
                             uint8_t* values, uint8_t* packed) {
  const bool is_signed = zero_point != 0;
  size_t n = 0;
  int32_t sum = 0;
  for (size_t i = 0; i < k; ++i) {  // without a branch: what is silent is written over
    const auto value = static_cast<uint8_t>(x[i] - zero_point);
    index[n] = static_cast<uint32_t>(i);
    values[n] = value;
    n += value != 0;
    sum += is_signed ? static_cast<int8_t>(value) : value;
  }
  for (; n % 4; ++n) {
    index[n] = 0;
    values[n] = 0;
  }
  for (size_t g = 0; g < n / 4; ++g) {
    uint8_t* group = packed + g * kGroupBytes;
    is_signed ? pack_group<true>(values + 4 * g, group) : pack_group<false>(values + 4 * g, group);
  }
  return {index, packed, n / 4, sum, is_signed};
}

// Columns whose sums stay in the first-level cache; what is read of a weight row lies together.
constexpr size_t kEventColumns = 2048;

// Sums of the columns of one vector of weights: part i holds the columns 4i .. 4i + 3 of every 16.
struct EventSums {
  Words part[4];
};

// Adds four weight rows times their inputs. With dot4 signed inputs want unsigned weights: these
// come 128 too large, which the caller takes back by the sum of inputs.
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

// The sums of at least kWordBytes columns; w: the weights of input 0 there. The last vector of
// columns lies at the end, over a part of the one before.
template <bool kSigned>
void sum_events(const Events& e, const int8_t* w, size_t stride, size_t columns, int32_t* out) {
  const bool flip = kHasDot4 && kSigned;
  const int32_t start = flip ? -128 * e.sum : 0;
  const int32_t sign = flip ? static_cast<int32_t>(0x80808080) : 0;
  const Words signs = broadcast_word(&sign);
  const size_t vectors = (columns + kWordBytes - 1) / kWordBytes, end = columns - kWordBytes;
  EventSums sums[kEventColumns / kWordBytes];
  for (size_t v = 0; v < vectors; ++v)
    for (Words& part : sums[v].part) part = broadcast_word(&start);
  for (size_t g = 0; g < e.groups; ++g) {
    const size_t next = g + 1 < e.groups ? g + 1 : g;
    const int8_t *row[4], *later[4];
    for (int i = 0; i < 4; ++i) {
      row[i] = w + e.index[4 * g + i] * stride;
      later[i] = w + e.index[4 * next + i] * stride;
    }
    for (size_t v = 0; v < vectors; ++v) {
      const size_t column = std::min(v * kWordBytes, end);
      Words four[4];
      for (int i = 0; i < 4; ++i) {
        four[i] = load_words(row[i] + column);
        if (flip) four[i] ^= signs;
        __builtin_prefetch(later[i] + column);
      }
      add_rows<kSigned>(sums[v], four, e.values + g * kGroupBytes);
    }
  }
  for (size_t v = 0; v < vectors; ++v) store_sums(sums[v], out + std::min(v * kWordBytes, end));
}

// The same for a few columns.
inline void sum_events(const Events& e, const int8_t* w, size_t stride, size_t columns,
                       int32_t* out) {
  std::memset(out, 0, columns * sizeof(int32_t));
  for (size_t g = 0; g < e.groups; ++g)
    for (size_t i = 0; i < 4; ++i) {
      const uint8_t* value = e.values + g * kGroupBytes;
      int32_t input;
      if (kHasDot4) {
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
  for (size_t n = first; n < last; n += kEventColumns) {
    const size_t columns = std::min(kEventColumns, last - n);
    if (columns < kWordBytes)
      sum_events(e, w + n, f.columns, columns, sums);
    else
      sum_events<kSigned>(e, w + n, f.columns, columns, sums);
    finish_block({sums, 0, 1, columns, row, n}, f);
  }
}

inline void multiply_events(const Events& e, const int8_t* w, size_t first, size_t last,
                            const LinearFinish& f, size_t row) {
  return e.is_signed ? multiply_events<true>(e, w, first, last, f, row)
                     : multiply_events<false>(e, w, first, last, f, row);
}

}  // namespace SNNC_ISA
}  // namespace snnc
