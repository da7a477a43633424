// Several timesteps: neurons with the membrane that they keep, means and differences over time.
#pragma once

#include "kernels.hpp"
#include "neuron.hpp"
#include "simd.hpp"
#include "words.hpp"

namespace snnc {
namespace SNNC_ISA {

// fire(i, n, x, steps, d): what the n neurons from i on emit for the input x. Each operation is
// rounded, as in NeuronModel.over_time.

// One membrane, which keeps what its spikes did not carry.
template <class Decide>
struct SoftReset {
  float* kept;
  explicit SoftReset(const Membranes& m) : kept(m.kept) {}
  SNNC_INLINE Floats fire(size_t i, size_t n, Floats x, const VectorSteps& steps,
                          const Decision& d) const {
    const Floats membrane = load(kept + i, n) + x;
    const Floats out = spikes(Decide::fire(membrane, steps, d), steps.positive, steps.negative);
    store(kept + i, membrane - out, n);
    return out;
  }
};

// One membrane, which a spike resets to the negative of the initial potential.
template <class Decide>
struct HardReset {
  float* kept;
  float resting;
  explicit HardReset(const Membranes& m) : kept(m.kept), resting(m.resting) {}
  SNNC_INLINE Floats fire(size_t i, size_t n, Floats x, const VectorSteps& steps,
                          const Decision& d) const {
    const Floats membrane = load(kept + i, n) + x;
    const Floats out = spikes(Decide::fire(membrane, steps, d), steps.positive, steps.negative);
    store(kept + i, out > 0.0f ? -(all(resting) * steps.positive) : membrane, n);
    return out;
  }
};

// A membrane for each sign; the negative one mirrored, so that both decide as positive ones.
struct TwoMembranes {
  float *rising, *falling;
  explicit TwoMembranes(const Membranes& m) : rising(m.kept), falling(m.falling) {}
  SNNC_INLINE Floats fire(size_t i, size_t n, Floats x, const VectorSteps& steps,
                          const Decision& d) const {
    const Floats up = one(rising + i, n, where(x > 0.0f, x), steps.positive_inverse,
                          steps.positive, d);
    Decision unbounded = d;
    unbounded.bound = __builtin_inff();
    return up - one(falling + i, n, where(x < 0.0f, -x), steps.negative_inverse, steps.negative,
                    unbounded);
  }

 private:
  SNNC_INLINE static Floats one(float* kept, size_t n, Floats x, Floats inverse, Floats step,
                                const Decision& d) {
    const Floats membrane = load(kept, n) + x;
    const Fired fired = snnc::SNNC_ISA::fire<Thresholds, false>(membrane, inverse, inverse, d);
    const Floats out = spikes(fired, step, step);
    store(kept, membrane - out, n);
    return out;
  }
};

// By value: what is written may else be thought to change the parameters.
template <class Kept, class Steps>
void fire_once(const float* x, float* y, size_t n, const Steps row, const Decision d,
               const Kept kept) {
  each_vector(n, [&](size_t i, size_t some) SNNC_INLINED {
    const VectorSteps steps = some == kLanes ? row.at(i) : row.tail(i, some);
    store(y + i, kept.fire(i, some, load(x + i, some), steps, d), some);
  });
}

inline void fire_over_time(const float* x, float* y, size_t n, const RowSteps& row,
                           const Decision& d, const Membranes& m) {
  with_steps(row, [&](const auto steps) {
    if (m.reset == Reset::kDual) return fire_once(x, y, n, steps, d, TwoMembranes(m));
    if (m.reset == Reset::kHard)
      return fire_once(x, y, n, steps, d, HardReset<Symmetric<Thresholds, false>>(m));
    with_decision(d, [&](auto decide) {
      fire_once(x, y, n, steps, d, SoftReset<decltype(decide)>(m));
    });
  });
}

inline void add_to_mean(const float* x, float* y, size_t n, size_t t, float* sums) {
  const Floats terms = all(static_cast<float>(t + 1));
  each_vector(n, [&](size_t i, size_t some) SNNC_INLINED {
    const Floats now = load(x + i, some);
    const Floats sum = t == 0 ? now : load(sums + i, some) + now;
    store(sums + i, sum, some);
    store(y + i, sum / terms, some);
  });
}

inline void rectify(float* y, size_t n) {
  each_vector(n, [&](size_t i, size_t some) SNNC_INLINED {
    const Floats x = load(y + i, some);
    store(y + i, x < 0.0f ? Floats{} : x, some);
  });
}

// 0 in place of what is no finite number.
SNNC_INLINE Floats defined(Floats v) { return where(v - v == 0.0f, v); }

// Backwards, so that y may take the place of x.
inline void telescope(const float* x, float* y, size_t n, const Timesteps& time) {
  for (size_t t = time.count; --t > 0;) {
    const Floats terms = all(static_cast<float>(t + 1)), before = all(static_cast<float>(t));
    const float *now = x + t * time.stride, *last = now - time.stride;
    each_vector(n, [&](size_t i, size_t some) SNNC_INLINED {
      const Floats sum = terms * defined(load(now + i, some));
      store(y + t * time.stride + i, sum - before * defined(load(last + i, some)), some);
    });
  }
  each_vector(n, [&](size_t i, size_t some) SNNC_INLINED {
    store(y + i, defined(load(x + i, some)), some);
  });
}

}  // namespace SNNC_ISA
}  // namespace snnc
