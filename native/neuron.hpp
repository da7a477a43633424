// The decision of the scale-and-fire neuron (arXiv 2510.23383), the same as in
// snnc/neurons/sfn.py: h = floor(min(|x| * (2 / step), 2 top)) half steps select the level.
#pragma once

#include "kernels.hpp"
#include "simd.hpp"

namespace snnc {
namespace SNNC_ISA {

// Each level set maps half steps, which may be negative, to a level; nothing fires below 1.

// Every level from 1 to top.
struct Contiguous {
  static Ints level(Ints half_steps, int32_t) { return (half_steps + 1) >> 1; }
};

// Levels up to offset, then offset + 2^j; a level fires half-way from the one below.
struct DoublingNearest {
  static Ints level(Ints half_steps, int32_t offset) {
    const Ints h = not_negative(half_steps), n = (h + 1) >> 1;
    const Ints above = not_negative(h - 2 * offset);
    const Floats half = to_floats(above) * 0.5f;
    // rounds to the power of two at or above 3/4 of itself
    const Floats power = floats((bits(half) + 0x00400000) & 0x7f800000);
    const Ints doubling = above == 1 ? all(1) : truncated(power);
    return (n < offset ? n : all(offset)) + doubling;
  }
};

// The same levels; a level fires half a step below itself (eq. 11).
struct DoublingEq11 {
  static Ints level(Ints half_steps, int32_t offset) {
    const Ints n = (not_negative(half_steps) + 1) >> 1;
    const Floats power = floats(bits(to_floats(not_negative(n - offset))) & 0x7f800000);
    return (n < offset ? n : all(offset)) + truncated(power);
  }
};

// Spikes of a vector of inputs: |count|, not positive where nothing fires, and where the inputs
// are negative.
struct Fired {
  Ints level;
  Ints negative;
};

// positive, negative: inverses 2 / step of the two signs, 0 for a dead branch. NaN passes through
// the minima and becomes a level that is not positive.
template <class Levels, bool kTwoSided>
inline Fired fire(Floats x, Floats positive, Floats negative, const Decision& d) {
  x = smaller(all(d.bound), x);
  const Ints below = kTwoSided ? x < 0.0f : Ints{};
  const Floats drive = kTwoSided
                           ? floats(bits(x) & 0x7fffffff) * (below ? negative : positive)
                           : x * positive;
  return {Levels::level(truncated(smaller(all(d.limit), drive)), d.offset), below};
}

// What a neuron emits: spikes as numbers, or their counts as bytes around a zero point.
inline void emit(float* y, Fired f, Floats positive_step, Floats negative_step, int32_t) {
  const Floats spikes = to_floats(f.level) * (f.negative ? -negative_step : positive_step);
  store(y, f.level > 0 ? spikes : Floats{});
}
inline void emit(uint8_t* y, Fired f, Floats, Floats, int32_t zero_point) {
  const Ints level = not_negative(f.level);
  store(y, (f.negative ? -level : level) + zero_point);
}

// Steps that are the same for every input of a row, or one for each.
struct Scalar {
  Floats value;
  explicit Scalar(const float* p) : value(all(*p)) {}
  Floats at(size_t) const { return value; }
  Floats tail(size_t, size_t) const { return value; }
};
struct EachInput {
  const float* p;
  explicit EachInput(const float* p) : p(p) {}
  Floats at(size_t i) const { return load(p + i); }
  Floats tail(size_t i, size_t n) const {
    Floats v{};
    std::memcpy(&v, p + i, n * sizeof(float));
    return v;
  }
};

template <class Levels, bool kTwoSided, class Steps, class Out>
void fire_row(const float* x, Out* y, size_t n, const RowSteps& row, Decision d) {
  const Steps positive(row.positive_inverse), negative(row.negative_inverse);
  const Steps positive_step(row.positive), negative_step(row.negative);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Fired fired =
        fire<Levels, kTwoSided>(load(x + i), positive.at(i), negative.at(i), d);
    emit(y + i, fired, positive_step.at(i), negative_step.at(i), d.zero_point);
  }
  if (i == n) return;
  const size_t rest = n - i;
  Floats last{};
  std::memcpy(&last, x + i, rest * sizeof(float));
  const Fired fired =
      fire<Levels, kTwoSided>(last, positive.tail(i, rest), negative.tail(i, rest), d);
  Out tail[kLanes];
  emit(tail, fired, positive_step.tail(i, rest), negative_step.tail(i, rest), d.zero_point);
  std::memcpy(y + i, tail, rest * sizeof(Out));
}

template <class Levels, bool kTwoSided, class Out>
void fire_row(const float* x, Out* y, size_t n, const RowSteps& row, const Decision& d) {
  if (row.each_input)
    fire_row<Levels, kTwoSided, EachInput, Out>(x, y, n, row, d);
  else
    fire_row<Levels, kTwoSided, Scalar, Out>(x, y, n, row, d);
}

template <class Out>
void fire_row(const float* x, Out* y, size_t n, const RowSteps& row, const Decision& d) {
  switch (d.levels) {
    case LevelSet::kContiguous:
      return d.two_sided ? fire_row<Contiguous, true>(x, y, n, row, d)
                         : fire_row<Contiguous, false>(x, y, n, row, d);
    case LevelSet::kDoublingNearest:
      return d.two_sided ? fire_row<DoublingNearest, true>(x, y, n, row, d)
                         : fire_row<DoublingNearest, false>(x, y, n, row, d);
    case LevelSet::kDoublingEq11:
      return d.two_sided ? fire_row<DoublingEq11, true>(x, y, n, row, d)
                         : fire_row<DoublingEq11, false>(x, y, n, row, d);
  }
}

}  // namespace SNNC_ISA
}  // namespace snnc
