// From sums to results: rows of one output channel are scaled, joined and fired.
#pragma once

#include "conv_shape.hpp"
#include "gelu.hpp"
#include "neuron.hpp"
#include "words.hpp"

namespace snnc {
namespace SNNC_ISA {
namespace conv {

// Lanes of a and b in turn, from their lower or upper half.
template <int kHalf>
SNNC_INLINE Ints zip(Ints a, Ints b) {
  Ints mask;
  for (size_t i = 0; i < kLanes; ++i)
    mask[i] = static_cast<int32_t>(kHalf * kLanes / 2 + i / 2 + i % 2 * kLanes);
  return __builtin_shuffle(a, b, mask);
}

// A square of kLanes words, mirrored at its diagonal by zipping its halves log2(kLanes) times.
inline void transpose_square(const void* from, size_t from_stride, void* to, size_t to_stride) {
  Ints a[kLanes], b[kLanes];
#pragma GCC unroll 16
  for (size_t i = 0; i < kLanes; ++i)
    std::memcpy(&a[i], static_cast<const uint32_t*>(from) + i * from_stride, kVectorBytes);
#pragma GCC unroll 4
  for (size_t round = 1; round < kLanes; round *= 2) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kLanes / 2; ++i) {
      b[2 * i] = zip<0>(a[i], a[i + kLanes / 2]);
      b[2 * i + 1] = zip<1>(a[i], a[i + kLanes / 2]);
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < kLanes; ++i) a[i] = b[i];
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kLanes; ++i)
    std::memcpy(static_cast<uint32_t*>(to) + i * to_stride, &a[i], kVectorBytes);
}

struct Bias {
  Floats bias;
  Bias(const ConvFinish& f, size_t channel) : bias(all(f.bias[channel])) {}
  Floats at(const float* sums) const { return load(sums) + bias; }
};
struct ScaleAndBias {
  Ints correction;
  Floats scale, bias;
  ScaleAndBias(const ConvFinish& f, size_t channel)
      : correction(all(f.correction[channel])),
        scale(all(f.scale[channel])),
        bias(all(f.bias[channel])) {}
  Floats at(const int32_t* sums) const {
    Ints sum;
    std::memcpy(&sum, sums, sizeof sum);
    return to_floats(sum + correction) * scale + bias;
  }
};

// The first n lanes, n < kLanes; the others are 0 when loaded.
inline Floats load_some(const float* p, size_t n) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#else
  Floats v{};
  std::memcpy(&v, p, n * sizeof *p);
  return v;
#endif
}
inline void copy_some(const float* from, size_t n, float* to) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << n) - 1), load(from));
#else
  std::memcpy(to, from, n * sizeof *to);
#endif
}
inline void copy_some(const uint8_t* from, size_t n, uint8_t* to) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  _mm_mask_storeu_epi8(to, static_cast<__mmask16>((1u << n) - 1),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
  std::memcpy(to, from, n);
#endif
}

// What the drive of a layer's neurons becomes.
template <class Levels, bool kTwoSided>
struct Neurons {
  Floats positive_inverse, negative_inverse, positive, negative;
  Decision decision;
  Neurons(const ConvFinish& f, size_t channel) : decision(*f.decision) {
    const RowSteps& steps = f.steps[f.channel_steps ? channel : 0];
    positive_inverse = all(*steps.positive_inverse);
    negative_inverse = all(*steps.negative_inverse);
    positive = all(*steps.positive);
    negative = all(*steps.negative);
  }
  template <class Out>
  void put(Out* y, Floats drive) const {
    emit(y, fire<Levels, kTwoSided>(drive, positive_inverse, negative_inverse, decision), positive,
         negative, decision.zero_point);
  }
};
struct NoNeurons {
  NoNeurons(const ConvFinish&, size_t) {}
  void put(float* y, Floats drive) const { store(y, drive); }
};

// A block of sums of consecutive channels, and where its results go.
template <class Sum>
struct Block {
  const Sum* sums;
  size_t stride;            // of sums, from channel to channel
  size_t channel, rows, n;  // its first channel, channels, positions
  size_t place, area;       // its place in the result, results of a channel
};

// Asks for the memory that finishing will touch while the sums are computed: the rows of a block
// lie too far apart for the processor to foresee.
inline void fetch(const void* p, size_t bytes) {
  constexpr size_t kLine = 64;
  const auto* line = static_cast<const char*>(p);
  for (const char* end = line + bytes + kLine; line < end; line += kLine)
    __builtin_prefetch(line, 1);
}
template <class Sum>
void fetch_block(const Block<Sum>& b, const ConvFinish& f) {
  for (size_t r = 0; r < b.rows; ++r) {
    const size_t first = b.place + r * b.area;
    if (f.addend) fetch(f.addend + first, b.n * sizeof(float));
    if (f.counts) fetch(f.counts + first, b.n);
    if (f.values) fetch(f.values + first, b.n * sizeof(float));
  }
}

template <class Affine, class Neurons, class Out, class Sum>
void finish_block(const Block<Sum>& b, const ConvFinish& f) {
  Out* out = (sizeof(Out) == 1 ? reinterpret_cast<Out*>(f.counts)
                               : reinterpret_cast<Out*>(f.values)) + b.place;
  const float* addend = f.addend ? f.addend + b.place : nullptr;
  for (size_t r = 0; r < b.rows; ++r, out += b.area) {
    const Affine affine(f, b.channel + r);
    const Neurons neurons(f, b.channel + r);
    const Sum* sums = b.sums + r * b.stride;
    size_t i = 0;
    for (; i + kLanes <= b.n; i += kLanes) {
      Floats y = affine.at(sums + i);
      if (addend) y = y + load(addend + i);
      if (f.gelu) y = gelu(y);
      neurons.put(out + i, y);
    }
    if (i < b.n) {
      Floats y = affine.at(sums + i);
      if (addend) y = y + load_some(addend + i, b.n - i);
      if (f.gelu) y = gelu(y);
      Out last[kLanes];
      neurons.put(last, y);
      copy_some(last, b.n - i, out + i);
    }
    if (addend) addend += b.area;
  }
}

template <class Sum>
using Finisher = void (*)(const Block<Sum>&, const ConvFinish&);

template <class Affine, class Levels, class Sum>
Finisher<Sum> finisher_of(const ConvFinish& f) {
  if (f.decision->two_sided)
    return f.counts ? finish_block<Affine, Neurons<Levels, true>, uint8_t, Sum>
                    : finish_block<Affine, Neurons<Levels, true>, float, Sum>;
  return f.counts ? finish_block<Affine, Neurons<Levels, false>, uint8_t, Sum>
                  : finish_block<Affine, Neurons<Levels, false>, float, Sum>;
}

template <class Affine, class Sum>
Finisher<Sum> finisher_of(const ConvFinish& f) {
  if (!f.decision) return finish_block<Affine, NoNeurons, float, Sum>;
  switch (f.decision->levels) {
    case LevelSet::kDoublingNearest:
      return finisher_of<Affine, DoublingNearest, Sum>(f);
    case LevelSet::kDoublingEq11:
      return finisher_of<Affine, DoublingEq11, Sum>(f);
    default:
      return finisher_of<Affine, Contiguous, Sum>(f);
  }
}

}  // namespace conv
}  // namespace SNNC_ISA
}  // namespace snnc
