// Several timesteps: neurons with the membrane that they keep, means and differences over time.
#pragma once

#include "kernels.hpp"
#include "neuron.hpp"
#include "simd.hpp"
#include "words.hpp"

namespace snnc {
namespace SNNC_ISA {

// visit(i, n) for every vector of n inputs in a row, the last one perhaps not whole.
template <class Visit>
SNNC_INLINE void each_vector(size_t n, const Visit& visit) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) visit(i, kLanes);
  if (i < n) visit(i, n - i);
}

// Membranes of n neurons; fire(i, x, steps): what those from i on emit for the input x. Each
// operation is rounded, as in NeuronModel.over_time.

// One membrane, which keeps what its spikes did not carry.
template <class Decide>
struct SoftReset {
  float* kept;
  SoftReset(float* kept, size_t, float) : kept(kept) {}
  SNNC_INLINE Floats fire(size_t i, Floats x, const VectorSteps& steps, const Decision& d) const {
    const Floats membrane = load(kept + i) + x;
    const Floats out = spikes(Decide::fire(membrane, steps, d), steps.positive, steps.negative);
    store(kept + i, membrane - out);
    return out;
  }
};

// One membrane, which a spike resets to the negative of the initial potential.
template <class Decide>
struct HardReset {
  float* kept;
  float resting;
  HardReset(float* kept, size_t, float resting) : kept(kept), resting(resting) {}
  SNNC_INLINE Floats fire(size_t i, Floats x, const VectorSteps& steps, const Decision& d) const {
    const Floats membrane = load(kept + i) + x;
    const Floats out = spikes(Decide::fire(membrane, steps, d), steps.positive, steps.negative);
    store(kept + i, out > 0.0f ? -(all(resting) * steps.positive) : membrane);
    return out;
  }
};

// A membrane for each sign; the negative one mirrored, so that both decide as positive ones.
struct TwoMembranes {
  float *rising, *falling;
  TwoMembranes(float* kept, size_t n, float)
      : rising(kept), falling(kept + (n + kLanes - 1) / kLanes * kLanes) {}
  SNNC_INLINE Floats fire(size_t i, Floats x, const VectorSteps& steps, Decision d) const {
    const Floats up = one(rising + i, where(x > 0.0f, x), steps.positive_inverse, steps.positive, d);
    d.bound = __builtin_inff();
    return up - one(falling + i, where(x < 0.0f, -x), steps.negative_inverse, steps.negative, d);
  }

 private:
  SNNC_INLINE static Floats one(float* kept, Floats x, Floats inverse, Floats step,
                                const Decision& d) {
    const Floats membrane = load(kept) + x;
    const Fired fired = snnc::SNNC_ISA::fire<Thresholds, false>(membrane, inverse, inverse, d);
    const Floats out = spikes(fired, step, step);
    store(kept, membrane - out);
    return out;
  }
};

template <class Membranes, class Steps>
void fire_over_time(const float* x, float* y, size_t n, const Steps row, const Decision d,
                    const Timesteps time, const Membranes membranes) {
  for (size_t t = 0; t < time.count; ++t, x += time.stride, y += time.stride)
    each_vector(n, [&](size_t i, size_t some) {
      const VectorSteps steps = some == kLanes ? row.at(i) : row.tail(i, some);
      store(y + i, membranes.fire(i, load(x + i, some), steps, d), some);
    });
}

inline void fire_over_time(const float* x, float* y, size_t n, const RowSteps& row,
                           const Decision& d, const Timesteps& time, Reset reset, float resting,
                           float* kept) {
  const size_t lanes = (n + kLanes - 1) / kLanes * kLanes;
  std::memset(kept, 0, 2 * lanes * sizeof(float));
  with_steps(row, [&](const auto steps) {
    if (reset == Reset::kDual)
      return fire_over_time(x, y, n, steps, d, time, TwoMembranes(kept, n, resting));
    if (reset == Reset::kHard)
      return fire_over_time(x, y, n, steps, d, time,
                            HardReset<Symmetric<Thresholds, false>>(kept, n, resting));
    with_decision(d, [&](auto decide) {
      fire_over_time(x, y, n, steps, d, time, SoftReset<decltype(decide)>(kept, n, resting));
    });
  });
}

inline void running_mean(const float* x, float* y, size_t n, const Timesteps& time, float* sums) {
  for (size_t t = 0; t < time.count; ++t, x += time.stride, y += time.stride) {
    const Floats terms = all(static_cast<float>(t + 1));
    each_vector(n, [&](size_t i, size_t some) {
      const Floats now = load(x + i, some);
      const Floats sum = t == 0 ? now : load(sums + i) + now;
      store(sums + i, sum);
      store(y + i, sum / terms, some);
    });
  }
}

// Backwards, so that y may take the place of x.
inline void telescope(const float* x, float* y, size_t n, const Timesteps& time) {
  for (size_t t = time.count; --t > 0;) {
    const Floats terms = all(static_cast<float>(t + 1)), before = all(static_cast<float>(t));
    const float *now = x + t * time.stride, *last = now - time.stride;
    each_vector(n, [&](size_t i, size_t some) {
      const Floats sum = terms * load(now + i, some);
      store(y + t * time.stride + i, sum - before * load(last + i, some), some);
    });
  }
  if (y != x) std::memcpy(y, x, n * sizeof(float));
}

}  // namespace SNNC_ISA
}  // namespace snnc
