// Depthwise convolution: each channel's sum over its own taps, many channels in a vector.
//
// A block is kWordDepth vectors of words, a word for each channel: kWordDepth taps of it. Taps
// are interleaved within every 128 bits, so in a block channels lie in the order of channel_of.
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

// 128 bits of a and b in turn, from the low or high half of the vectors.
#if defined(__AVX512BW__)
#define SNNC_LOW_LANES 0, 1, 8, 9, 2, 3, 10, 11
#define SNNC_HIGH_LANES 4, 5, 12, 13, 6, 7, 14, 15
#elif defined(__AVX2__)
#define SNNC_LOW_LANES 0, 1, 4, 5
#define SNNC_HIGH_LANES 2, 3, 6, 7
#else
#define SNNC_LOW_LANES 0, 1
#define SNNC_HIGH_LANES 2, 3
#endif
typedef int64_t Halved __attribute__((vector_size(kWordBytes)));
SNNC_INLINE void interleave_lanes(Words& a, Words& b) {
  const Halved low = __builtin_shufflevector((Halved)a, (Halved)b, SNNC_LOW_LANES);
  b = (Words)__builtin_shufflevector((Halved)a, (Halved)b, SNNC_HIGH_LANES);
  a = (Words)low;
}
#undef SNNC_LOW_LANES
#undef SNNC_HIGH_LANES

// Sums in the order of channel_of become sums in the order of channels.
SNNC_INLINE void sort_channels(Words (&sums)[kWordDepth]) {
  if constexpr (kWordDepth == 4) {
    interleave_lanes(sums[0], sums[2]);
    interleave_lanes(sums[1], sums[3]);
    interleave_lanes(sums[0], sums[1]);
    interleave_lanes(sums[2], sums[3]);
  } else {
    interleave_lanes(sums[0], sums[1]);
  }
}

// A vector of inputs, as entries of packed rows.
SNNC_INLINE Words load_entries(const uint8_t* p) {
  if constexpr (kHasDot4) return load_words(p);
  typedef uint8_t Narrow __attribute__((vector_size(kWordBytes / 2)));
  typedef int16_t Wide __attribute__((vector_size(kWordBytes)));
  Narrow bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return (Words)__builtin_convertvector(bytes, Wide);
}

// Where the taps of a position lie.
class TapWriter {
 public:
  TapWriter(const DepthwiseInput& input, const uint8_t** to) : input_(input), to_(to) {}

  void silent(size_t taps) {
    for (size_t i = 0; i < taps; ++i) *to_++ = input_.silent;
  }
  void taps(const uint8_t* from, size_t taps) {
    for (size_t i = 0; i < taps; ++i, from += input_.rows.channels) {
      copied_ |= from >= input_.end;
      *to_++ = from < input_.end ? from : input_.copied_end + (from - input_.end);
    }
  }
  bool copied() const { return copied_; }

 private:
  const DepthwiseInput& input_;
  const uint8_t** to_;
  bool copied_ = false;
};

// The taps of output positions, one after another.
class TapList {
 public:
  // room: for the taps of kDepthwiseRows positions.
  TapList(const DepthwiseInput& input, size_t first, const uint8_t** room)
      : input_(input),
        shape_(input.rows.shape),
        window_(input.rows),
        at_(position_of(shape_, first)),
        count_(words_of(shape_.taps()) * kWordDepth),
        taps_(room) {}
  size_t words() const { return count_ / kWordDepth; }
  const uint8_t* const* all() const { return taps_; }

  // The next position becomes the r-th of the list; before: the place of the last one.
  void fill(size_t r, size_t before) {
    const bool inside = window_.inside(at_);
    const uint8_t** taps = taps_ + r * count_;
    const uint8_t** last = taps_ + before * count_;
    const bool follows = inside && last_inside_ && at_.x > 0;
    if (follows && last[shape_.taps() - 1] + window_.step() < input_.end)
      for (size_t i = 0; i < count_; ++i) taps[i] = last[i] + window_.step();
    else
      find(inside, taps);
    at_ = next(shape_, at_);
  }

 private:
  void find(bool inside, const uint8_t** taps) {
    TapWriter writer(input_, taps);
    window_.write(at_, writer);
    std::fill(taps + shape_.taps(), taps + count_, taps[shape_.taps() - 1]);
    last_inside_ = inside && !writer.copied();
  }

  const DepthwiseInput& input_;
  const ConvShape& shape_;
  const Window window_;
  Position at_;
  size_t count_;
  const uint8_t** taps_;
  bool last_inside_ = false;  // in the input as it is, so that the next one's taps lie a step on
};

// Sums of one block of channels, from `first` on, at one position.
SNNC_INLINE void sum_taps(const uint8_t* const* taps, size_t groups, size_t first,
                          const uint8_t* block, int32_t* out) {
  Words sums[kWordDepth];
#pragma GCC unroll 4
  for (size_t v = 0; v < kWordDepth; ++v) sums[v] = load_words(block + v * kWordBytes);
  for (size_t group = 0; group < groups; ++group, taps += kWordDepth) {
    block += kBlockBytes;
    Words inputs[kWordDepth];
#pragma GCC unroll 4
    for (size_t i = 0; i < kWordDepth; ++i) inputs[i] = load_entries(taps[i] + first);
    interleave_taps(inputs);
#pragma GCC unroll 4
    for (size_t v = 0; v < kWordDepth; ++v) {
      const Words weights = load_words(block + v * kWordBytes);
      sums[v] = kHasDot4 ? dot4<false>(sums[v], inputs[v], weights)
                         : dot2(sums[v], inputs[v], weights);
    }
  }
  sort_channels(sums);
#pragma GCC unroll 4
  for (size_t v = 0; v < kWordDepth; ++v) store_words(out + v * kWordLanes, sums[v]);
}

// Some rows of the result, of all channels. taps: those of each row, whole words.
inline void multiply_taps(const uint8_t* const* taps, size_t words, const uint8_t* weights,
                          const LinearFinish& f, size_t row, size_t count) {
  alignas(kVectorBytes) int32_t sums[kDepthwiseRows * kBlockWords];
  for (size_t first = 0; first < f.columns; first += kBlockWords) {
    for (size_t r = 0; r < count; ++r)
      sum_taps(taps + r * words * kWordDepth, words, first, weights, sums + r * kBlockWords);
    const size_t columns = std::min(kBlockWords, f.columns - first);
    finish_block({sums, kBlockWords, count, columns, row, first}, f);
    weights += (1 + words) * kBlockBytes;
  }
}

inline void multiply_depthwise(const DepthwiseInput& input, const uint8_t* weights,
                               const LinearFinish& f, size_t first, size_t last,
                               const uint8_t** room) {
  TapList taps(input, first, room);
  for (size_t row = first; row < last; row += kDepthwiseRows) {
    const size_t count = std::min(kDepthwiseRows, last - row);
    for (size_t r = 0; r < count; ++r)
      taps.fill(r, (r + kDepthwiseRows - 1) % kDepthwiseRows);
    multiply_taps(taps.all(), taps.words(), weights, f, row, count);
  }
}

}  // namespace SNNC_ISA
}  // namespace snnc
