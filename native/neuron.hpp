// The decisions of neurons, the same as in snnc/neurons. Scale-and-fire (arXiv 2510.23383):
// h = floor(min(|x| * (2 / step), 2 top)) half steps select the level. Neurons whose levels lie one
// threshold apart: h = floor(x * (256 / step)) grains give floor((h + initial potential) / 256).
#pragma once

#include "kernels.hpp"
#include "simd.hpp"

namespace snnc {
namespace SNNC_ISA {

// Each level set maps half steps, which may be negative, to a level; nothing fires below 1.

// Every level from 1 to top.
struct Contiguous {
  static Ints level(Ints half_steps, const Decision&) { return (half_steps + 1) >> 1; }
};

// Levels up to offset + 2 octave, then at gaps that double every octave: above offset, numbers of
// so few bits that the lowest is the gap. A level fires half-way from the one below.
struct DoublingNearest {
  static Ints level(Ints half_steps, const Decision& d) {
    const Ints h = not_negative(half_steps), n = (h + 1) >> 1;
    const Ints above = not_negative(h - 2 * d.offset);
    const Ints half = bits(to_floats(above) * 0.5f);
    const Ints rounded = truncated(floats((half + (d.gap_bit >> 1)) & -d.gap_bit));
    const Ints beyond = above < 2 * d.octave ? (above + 1) >> 1 : rounded;
    return (n < d.offset ? n : all(d.offset)) + beyond;
  }
};

// The same levels; a level fires half a step below itself (eq. 11).
struct DoublingEq11 {
  static Ints level(Ints half_steps, const Decision& d) {
    const Ints n = (not_negative(half_steps) + 1) >> 1;
    const Ints above = bits(to_floats(not_negative(n - d.offset)));
    const Ints beyond = truncated(floats(above & -d.gap_bit));
    return (n < d.offset ? n : all(d.offset)) + beyond;
  }
};

// Levels one threshold apart, from sizes in grains.
struct Thresholds {
  static Ints level(Ints grains, const Decision& d) { return (grains + d.offset) >> 8; }
};

// Spikes of a vector of inputs: |count|, not positive where nothing fires, and where the inputs
// are negative.
struct Fired {
  Ints level;
  Ints negative;
};

// positive, negative: inverses of the two signs, 0 for a dead branch. NaN passes through the minima
// and becomes a level that is not positive.
template <class Levels, bool kTwoSided>
inline Fired fire(Floats x, Floats positive, Floats negative, const Decision& d) {
  x = smaller(all(d.bound), x);
  const Ints below = kTwoSided ? x < 0.0f : Ints{};
  const Floats drive = kTwoSided
                           ? floats(bits(x) & 0x7fffffff) * (below ? negative : positive)
                           : x * positive;
  return {Levels::level(truncated(smaller(all(d.limit), drive)), d), below};
}

// Steps of a vector of inputs, as in RowSteps.
struct VectorSteps {
  Floats positive_inverse, negative_inverse, positive, negative;
};

// Sizes decide, alike for both signs.
template <class Levels, bool kTwoSided>
struct Symmetric {
  static Fired fire(Floats x, const VectorSteps& steps, const Decision& d) {
    return SNNC_ISA::fire<Levels, kTwoSided>(x, steps.positive_inverse, steps.negative_inverse, d);
  }
};

inline Fired signed_count(Ints count, Ints below) { return {below ? -count : count, below}; }

// A drive within its limits, NaN as 0.
inline Floats clipped(Floats drive, const Decision& d) {
  return larger(all(d.least), smaller(all(d.limit), where(drive == drive, drive)));
}

// Thresholds one step apart, rounded down for both signs.
struct Floored {
  static Fired fire(Floats x, const VectorSteps& steps, const Decision& d) {
    x = smaller(all(d.bound), x);
    const Ints below = x < 0.0f;
    const Floats drive = x * (below ? steps.negative_inverse : steps.positive_inverse);
    return signed_count(Thresholds::level(floored(clipped(drive, d)), d), below);
  }
};

// x / step to the nearest integer, ties to even: a quantiser's own decision.
struct Divided {
  static Fired fire(Floats x, const VectorSteps& steps, const Decision& d) {
    x = smaller(all(d.bound), x);
    const Ints below = x < 0.0f;
    const Ints alive = (below ? steps.negative_inverse : steps.positive_inverse) > 0.0f;
    const Floats drive = x / (below ? steps.negative : steps.positive);
    return signed_count(rounded(clipped(where(alive, drive), d)), below);
  }
};

// visit(what decides) for a neuron's decision.
template <class Visit>
void with_decision(const Decision& d, const Visit& visit) {
  switch (d.levels) {
    case LevelSet::kContiguous:
      return d.two_sided ? visit(Symmetric<Contiguous, true>{})
                         : visit(Symmetric<Contiguous, false>{});
    case LevelSet::kDoublingNearest:
      return d.two_sided ? visit(Symmetric<DoublingNearest, true>{})
                         : visit(Symmetric<DoublingNearest, false>{});
    case LevelSet::kDoublingEq11:
      return d.two_sided ? visit(Symmetric<DoublingEq11, true>{})
                         : visit(Symmetric<DoublingEq11, false>{});
    case LevelSet::kThresholds:
      return d.two_sided ? visit(Symmetric<Thresholds, true>{})
                         : visit(Symmetric<Thresholds, false>{});
    case LevelSet::kFloored:
      return visit(Floored{});
    case LevelSet::kDivided:
      return visit(Divided{});
  }
}

// What a neuron emits: spikes as numbers, or their counts as bytes around a zero point.
inline Floats spikes(Fired f, Floats positive_step, Floats negative_step) {
  const Floats size = f.negative ? -negative_step : positive_step;
  return where(f.level > 0, to_floats(f.level) * size);
}
inline void emit(float* y, Fired f, Floats positive_step, Floats negative_step, int32_t) {
  store(y, spikes(f, positive_step, negative_step));
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
  Floats tail(size_t i, size_t n) const { return load(p + i, n); }
};

template <class Steps>
struct StepsOf {
  Steps positive_inverse, negative_inverse, positive, negative;
  explicit StepsOf(const RowSteps& row)
      : positive_inverse(row.positive_inverse),
        negative_inverse(row.negative_inverse),
        positive(row.positive),
        negative(row.negative) {}
  VectorSteps at(size_t i) const {
    return {positive_inverse.at(i), negative_inverse.at(i), positive.at(i), negative.at(i)};
  }
  // Of the last inputs of a row, fewer than a vector.
  VectorSteps tail(size_t i, size_t n) const {
    return {positive_inverse.tail(i, n), negative_inverse.tail(i, n), positive.tail(i, n),
            negative.tail(i, n)};
  }
};

// visit(steps) with the steps of a row.
template <class Visit>
void with_steps(const RowSteps& row, const Visit& visit) {
  row.each_input ? visit(StepsOf<EachInput>(row)) : visit(StepsOf<Scalar>(row));
}

template <class Decide, class Steps, class Out>
void fire_row(const float* x, Out* y, size_t n, const Steps row, const Decision d) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VectorSteps steps = row.at(i);
    emit(y + i, Decide::fire(load(x + i), steps, d), steps.positive, steps.negative, d.zero_point);
  }
  if (i == n) return;
  const size_t rest = n - i;
  const VectorSteps steps = row.tail(i, rest);
  Out tail[kLanes];
  emit(tail, Decide::fire(load(x + i, rest), steps, d), steps.positive, steps.negative,
       d.zero_point);
  std::memcpy(y + i, tail, rest * sizeof(Out));
}

template <class Out>
void fire_row(const float* x, Out* y, size_t n, const RowSteps& row, const Decision& d) {
  with_decision(d, [&](auto decide) {
    with_steps(row, [&](const auto steps) { fire_row<decltype(decide)>(x, y, n, steps, d); });
  });
}

}  // namespace SNNC_ISA
}  // namespace snnc
