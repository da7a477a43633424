// From sums to results: rows of one output channel are scaled, joined and fired.
#pragma once

#include "conv_shape.hpp"
#include "neuron.hpp"

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

// The error function's approximation 7.1.28 of Abramowitz and Stegun, each operation rounded.
inline Floats gelu(Floats z) {
  const Floats s = floats(bits(z) & 0x7fffffff) * 0.70710678118654752f;
  Floats p = s * .0000430638f + .0002765672f;
  p = p * s + .0001520143f;
  p = p * s + .0092705272f;
  p = p * s + .0422820123f;
  p = p * s + .0705230784f;
  p = p * s + 1.0f;
  for (int i = 0; i < 4; ++i) p = p * p;
  const Floats r = 1.0f / p;
  return (0.5f * z) * select(z < 0.0f, r, 2.0f - r);
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

inline Floats load_some(const float* p, size_t n) {
  if (n >= kLanes) return load(p);
  Floats v{};
  std::memcpy(&v, p, n * sizeof *p);
  return v;
}

// The drive of n neurons of one channel, in place of their sums; whole vectors are written.
template <class Affine, class Sum>
float* drive_row(Sum* sums, size_t n, size_t channel, const float* addend, const ConvFinish& f) {
  const Affine affine(f, channel);
  float* drive = reinterpret_cast<float*>(sums);
  for (size_t i = 0; i < n; i += kLanes) {
    Floats y = affine.at(sums + i);
    if (addend) y = y + load_some(addend + i, n - i);
    if (f.gelu) y = gelu(y);
    store(drive + i, y);
  }
  return drive;
}

// One row of results; `place` is where it starts in the result.
inline void finish_row(const float* drive, size_t n, size_t channel, size_t place,
                       const ConvFinish& f) {
  if (!f.decision) return std::memcpy(f.values + place, drive, n * sizeof *drive), void();
  const RowSteps& steps = f.steps[f.channel_steps ? channel : 0];
  if (f.counts)
    fire_row(drive, f.counts + place, n, steps, *f.decision);
  else
    fire_row(drive, f.values + place, n, steps, *f.decision);
}

}  // namespace SNNC_ISA
}  // namespace snnc
