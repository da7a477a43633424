// Rows of feature maps, channels first: spikes from them as lists, sums into them.
#pragma once

#include <algorithm>

#include "event_conv_shape.hpp"
#include "simd.hpp"

namespace snnc {
namespace SNNC_ISA {

// The events of the row at x of an image [C][y][x].
inline void collect_row(const ConvShape& shape, const float* x, const RowEvents& to,
                        const EventMemory& memory) {
  const size_t plane = shape.y.input * shape.x.input, width = shape.x.input;
  const size_t channels = shape.channels;
  size_t count = 0;
#if defined(__AVX512F__)
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i planes = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(static_cast<int>(plane)));
  uint16_t* fired = memory.fired;
  std::fill_n(fired + channels, kFiredPadding, uint16_t{0});
  for (size_t i = 0; i < width; i += kLanes) {
    const size_t n = std::min(kLanes, width - i);
    const auto there = static_cast<__mmask16>((1u << n) - 1);
    for (size_t c = 0; c < channels; ++c) {
      __builtin_prefetch(x + c * plane + i + memory.ahead.input);
      fired[c] = _mm512_cmp_ps_mask(_mm512_maskz_loadu_ps(there, x + c * plane + i),
                                    _mm512_setzero_ps(), _CMP_NEQ_UQ);
    }
    for (size_t j = 0; j < n; ++j) {
      const size_t place = i + j;
      const __m256i bit = _mm256_set1_epi16(static_cast<int16_t>(1u << j));
      to.begin[place] = static_cast<uint32_t>(count);
      for (size_t c = 0; c < channels; c += kLanes) {
        const __m256i group = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(fired + c));
        const __mmask16 spikes = _mm256_test_epi16_mask(group, bit);
        const auto first = static_cast<int>(place * channels + c);
        const auto offset = static_cast<int>(c * plane + place);
        _mm512_storeu_si512(to.index + count,
                            _mm512_maskz_compress_epi32(
                                spikes, _mm512_add_epi32(lanes, _mm512_set1_epi32(first))));
        _mm512_storeu_si512(memory.offsets + count,
                            _mm512_maskz_compress_epi32(
                                spikes, _mm512_add_epi32(planes, _mm512_set1_epi32(offset))));
        count += static_cast<size_t>(__builtin_popcount(spikes));
      }
    }
  }
#else
  for (size_t place = 0; place < width; ++place) {
    to.begin[place] = static_cast<uint32_t>(count);
    for (size_t c = 0; c < channels; ++c) {  // without a branch: what is silent is written over
      const size_t offset = c * plane + place;
      to.index[count] = static_cast<uint32_t>(place * channels + c);
      memory.offsets[count] = static_cast<uint32_t>(offset);
      count += x[offset] != 0.0f;
    }
  }
#endif
  to.begin[width] = static_cast<uint32_t>(count);
  for (size_t e = 0; e < count; ++e) to.values[e] = x[memory.offsets[e]];
}

// Sums of some places along x, [places][width], of which the first `channels` are wanted.
struct SumRow {
  const float* sums;
  size_t places, width, channels;
};

// Four places of four channels, from sums to rows that lie a plane apart.
inline void store_four(const float* sums, size_t width, float* y, size_t plane) {
#if defined(__SSE2__)
  __m128 a = _mm_loadu_ps(sums), b = _mm_loadu_ps(sums + width);
  __m128 c = _mm_loadu_ps(sums + 2 * width), d = _mm_loadu_ps(sums + 3 * width);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(y, a);
  _mm_storeu_ps(y + plane, b);
  _mm_storeu_ps(y + 2 * plane, c);
  _mm_storeu_ps(y + 3 * plane, d);
#else
  for (size_t o = 0; o < 4; ++o)
    for (size_t i = 0; i < 4; ++i) y[o * plane + i] = sums[i * width + o];
#endif
}

// To a row of each channel, a plane apart. The last four places may lie over those before. ahead: to
// what will be written next.
inline void store_channels_first(const SumRow& row, float* y, size_t plane, size_t ahead) {
  constexpr size_t kLineFloats = 16;
  constexpr int kToWrite = 1;
  for (size_t o = 0; o < row.channels; o += 4) {
    const float* sums = row.sums + o;
    float* to = y + o * plane;
    if (row.places >= 4 && o + 4 <= row.channels) {
      for (size_t i = 0; i < row.places; i += 4) {
        const size_t place = std::min(i, row.places - 4);
        store_four(sums + place * row.width, row.width, to + place, plane);
      }
      for (size_t j = 0; j < 4; ++j)
        for (size_t i = 0; i < row.places; i += kLineFloats)
          __builtin_prefetch(to + j * plane + i + ahead, kToWrite);
      continue;
    }
    for (size_t j = 0; j < std::min<size_t>(4, row.channels - o); ++j)
      for (size_t i = 0; i < row.places; ++i) to[j * plane + i] = sums[i * row.width + j];
  }
}

}  // namespace SNNC_ISA
}  // namespace snnc
