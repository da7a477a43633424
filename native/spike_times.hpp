// The decisions of neurons that fire at most once, the same as in snnc/neurons/ttfs.py: n = floor((x
// - low) (ticks / range) + early) ticks before the window's end, every operation rounded by itself.
#pragma once

#include "kernels.hpp"
#include "neuron.hpp"

namespace snnc {
namespace SNNC_ISA {

// A window in vectors.
struct TimeWindow {
  Floats low, rate, tick, ticks, early;
  explicit TimeWindow(const SpikeWindow& w)
      : low(all(w.low)), rate(all(w.rate)), tick(all(w.tick)), ticks(all(w.ticks)),
        early(all(w.early)) {}
};

// Ticks from a crossing to the window's end, unlimited. Below `low` they are less than `early`, so
// that nothing has to raise x to `low` first. T: a vector or a number, W: a window of such.
template <class T, class W>
inline T time_left(T x, const W& w) {
  return (x - w.low) * w.rate + w.early;
}

// The number that the spike for x stands for; NaN is silent. It is not below `low`.
inline Floats fired(Floats x, const TimeWindow& w) {
  const Floats left = smaller(w.ticks, larger(time_left(x, w), Floats{}));
  return whole_part(left) * w.tick + w.low;
}

inline void fire_once(const float* x, float* y, size_t n, const SpikeWindow& window) {
  const TimeWindow w(window);
  each_vector(n, [&](size_t i, size_t m) SNNC_INLINED {
    store(y + i, fired(load(x + i, m), w), m);
  });
}

// The lanes for which a byte is not 0.
inline Ints alive_lanes(const bool* alive, size_t n) {
  Bytes bytes{};
  std::memcpy(&bytes, alive, n);
  return __builtin_convertvector(bytes, Ints) != 0;
}

template <class X>
inline void fire_gated(const X x, const bool* alive, float* y, size_t n, const TimeWindow w) {
  each_vector(n, [&](size_t i, size_t m) SNNC_INLINED {
    const Floats spikes = fired(x.tail(i, m), w);
    store(y + i, alive_lanes(alive + i, m) ? spikes : w.low, m);
  });
}

inline void fire_gated(RowOperand x, const bool* alive, float* y, size_t n,
                       const SpikeWindow& window) {
  const TimeWindow w(window);
  x.each ? fire_gated(EachInput(x.data), alive, y, n, w)
         : fire_gated(Scalar(x.data), alive, y, n, w);
}

}  // namespace SNNC_ISA
}  // namespace snnc
