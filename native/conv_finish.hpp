// From sums to results: rows of one output channel are scaled, joined and fired.
#pragma once

#include "conv_shape.hpp"
#include "gelu.hpp"
#include "neuron.hpp"
#include "words.hpp"

namespace snnc {
namespace SNNC_ISA {

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

// The drives of one channel from its sums; whole vectors are written, and may overlap the sums
// from below.
template <class Affine, class Sum>
void drive_row(const Sum* sums, size_t n, size_t channel, const ConvFinish& f, float* drive) {
  const Affine affine(f, channel);
  for (size_t i = 0; i < n; i += kLanes) store(drive + i, affine.at(sums + i));
}

inline void add_row(float* drive, const float* addend, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(drive + i, load(drive + i) + load(addend + i));
  for (; i < n; ++i) drive[i] += addend[i];
}

// Results from drives of n neurons that lie together from `place` on; whole vectors of drives
// are read and written.
inline void finish_row(float* drive, size_t n, size_t channel, size_t place, const ConvFinish& f) {
  if (f.addend) add_row(drive, f.addend + place, n);
  if (f.gelu)
    for (size_t i = 0; i < n; i += kLanes) store(drive + i, gelu(load(drive + i)));
  if (!f.decision) return std::memcpy(f.values + place, drive, n * sizeof *drive), void();
  const RowSteps& steps = f.steps[f.channel_steps ? channel : 0];
  if (f.counts)
    fire_row(drive, f.counts + place, n, steps, *f.decision);
  else
    fire_row(drive, f.values + place, n, steps, *f.decision);
}

}  // namespace SNNC_ISA
}  // namespace snnc
