// Depthwise convolution: each channel's sum over its own taps, many channels in a vector.
//
// A block is kWordDepth vectors of words, a word for each channel: kWordDepth taps of it. Taps
// are interleaved from rows within every 128 bits, so channels lie in the order of channel_of.
//   packed block  what sums start with, then the weights of kWordDepth taps after another
#pragma once

#include "conv_shape.hpp"
#include "gather.hpp"
#include "linear_finish.hpp"
#include "panels.hpp"

namespace snnc {
namespace SNNC_ISA {

constexpr size_t kLanesOf128 = 4;
constexpr size_t kBlockWords = kWordDepth * kWordLanes;  // channels of a block
constexpr size_t kBlockBytes = kWordDepth * kWordBytes;
constexpr size_t kDepthwiseRows = 16;

constexpr size_t channel_of(size_t vector, size_t lane) {
  return (lane / kLanesOf128 * kWordDepth + vector) * kLanesOf128 + lane % kLanesOf128;
}

inline size_t packed_block_bytes(size_t taps) { return (1 + words_of(taps)) * kBlockBytes; }

inline size_t depthwise_bytes(size_t channels, size_t taps) {
  return (channels + kBlockWords - 1) / kBlockWords * packed_block_bytes(taps);
}

// What one channel has in the words of its block, word by word.
inline void pack_channel(const DepthwiseWeights& w, size_t channel, uint8_t* words) {
  const int8_t* weights = w.data + channel * w.taps;
  int32_t start = 0;
  for (size_t tap = 0; tap < w.taps; ++tap) start -= w.zero_point * weights[tap];
  std::memcpy(words, &start, sizeof start);
  for (size_t tap = 0; tap < w.taps; ++tap) {
    const Entry weight = weights[tap];
    const size_t word = 1 + tap / kWordDepth;
    std::memcpy(words + word * kBlockBytes + tap % kWordDepth * sizeof weight, &weight,
                sizeof weight);
  }
}

inline void pack_depthwise(const DepthwiseWeights& w, uint8_t* packed) {
  std::memset(packed, 0, depthwise_bytes(w.channels, w.taps));
  for (size_t first = 0; first < w.channels; first += kBlockWords) {
    for (size_t word = 0; word < kBlockWords; ++word) {
      const size_t channel = first + channel_of(word / kWordLanes, word % kWordLanes);
      if (channel < w.channels) pack_channel(w, channel, packed + word * sizeof(int32_t));
    }
    packed += packed_block_bytes(w.taps);
  }
}

// Rows of taps become words of all these taps, in the order of channel_of.
SNNC_INLINE void interleave_taps(Words (&taps)[kWordDepth]) {
  if constexpr (kHasDot4) {
    const Words low01 = interleave_low_bytes(taps[0], taps[1]);
    const Words high01 = interleave_high_bytes(taps[0], taps[1]);
    const Words low23 = interleave_low_bytes(taps[2], taps[3]);
    const Words high23 = interleave_high_bytes(taps[2], taps[3]);
    taps[0] = interleave_low_halves(low01, low23);
    taps[1] = interleave_high_halves(low01, low23);
    taps[2] = interleave_low_halves(high01, high23);
    taps[3] = interleave_high_halves(high01, high23);
  } else {
    const Words low = interleave_low_halves(taps[0], taps[1]);
    taps[1] = interleave_high_halves(taps[0], taps[1]);
    taps[0] = low;
  }
}

// Sums of one block at one position. stride: bytes between taps.
SNNC_INLINE void sum_taps(const uint8_t* row, size_t stride, size_t taps, const uint8_t* block,
                          int32_t* out) {
  Words sums[kWordDepth];
#pragma GCC unroll 4
  for (size_t v = 0; v < kWordDepth; ++v) sums[v] = load_words(block + v * kWordBytes);
  for (size_t tap = 0; tap < taps; tap += kWordDepth) {
    block += kBlockBytes;
    Words inputs[kWordDepth];
#pragma GCC unroll 4
    for (size_t i = 0; i < kWordDepth; ++i)  // past the last tap weights are 0
      inputs[i] = load_words(row + std::min(tap + i, taps - 1) * stride);
    interleave_taps(inputs);
#pragma GCC unroll 4
    for (size_t v = 0; v < kWordDepth; ++v) {
      const Words weights = load_words(block + v * kWordBytes);
      sums[v] = kHasDot4 ? dot4<false>(sums[v], inputs[v], weights)
                         : dot2(sums[v], inputs[v], weights);
    }
  }
#pragma GCC unroll 4
  for (size_t v = 0; v < kWordDepth; ++v)
#pragma GCC unroll 4
    for (size_t lane = 0; lane < kWordLanes; lane += kLanesOf128)
      std::memcpy(out + channel_of(v, lane),
                  reinterpret_cast<const uint8_t*>(&sums[v]) + lane * sizeof(int32_t), 16);
}

inline void multiply_depthwise(const ByteRows& rows, size_t taps, const uint8_t* weights,
                               const LinearFinish& f, size_t row) {
  alignas(kVectorBytes) int32_t sums[kDepthwiseRows * kBlockWords];
  for (size_t first = 0; first < f.columns; first += kBlockWords) {
    const size_t columns = std::min(kBlockWords, f.columns - first);
    for (size_t begin = 0; begin < rows.count; begin += kDepthwiseRows) {
      const size_t count = std::min(kDepthwiseRows, rows.count - begin);
      for (size_t r = 0; r < count; ++r)
        sum_taps(rows.data + (begin + r) * rows.stride + first * sizeof(RowEntry),
                 f.columns * sizeof(RowEntry), taps, weights, sums + r * kBlockWords);
      finish<int32_t>({sums, kBlockWords, count, columns, row + begin, first}, f);
    }
    weights += packed_block_bytes(taps);
  }
}

}  // namespace SNNC_ISA
}  // namespace snnc
