// What every instruction set provides: one table of kernels, chosen when the library is loaded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "conv_shape.hpp"
#include "event_conv_shape.hpp"
#include "linear_kernels.hpp"
#include "spike_time_kernels.hpp"

namespace snnc {

// How the drive of a neuron, its input in parts of a step, becomes a count: by half steps where
// scale-and-fire neurons do, by thresholds one step apart alike for both signs, by the same rounded
// down for both, or by division in place of the inverse.
enum class LevelSet {
  kContiguous,
  kDoublingNearest,
  kDoublingEq11,
  kThresholds,
  kFloored,
  kDivided
};

// Parts of a step in which decisions are made: powers of two, so that they are exact.
constexpr float kThresholds = 1, kHalfSteps = 2, kGrains = 256;

// The parameters of a neuron that its decision needs.
struct Decision {
  LevelSet levels;
  bool two_sided;      // false: positive spikes only
  float limit;         // drives above it count as it does
  int32_t offset;      // doubling: levels 1 .. offset lie one step apart, whatever comes above;
                       // thresholds: the initial potential in grains
  float bound;         // inputs above it count as it does
  int32_t zero_point;  // what a count of 0 is as a byte
  float least;         // drives below it count as it does, where sizes are not what decides
  float unit;          // parts of a step in a drive
  int32_t octave;      // doubling: levels from one doubling of gaps to the next, a power of two
  int32_t gap_bit;     // and the lowest bit of a float of as many numbers an octave
};

// Steps of one row of inputs. Inverses are the decision's unit / step, 0 for a dead branch.
// each_input: arrays of the row's length, else single numbers.
struct RowSteps {
  const float* positive_inverse;
  const float* negative_inverse;
  const float* positive;
  const float* negative;
  bool each_input;
};

// Several timesteps: x[t * stride ..] gives y[t * stride ..], which may be the same memory.
struct Timesteps {
  size_t count;
  size_t stride;
};

// What a neuron keeps from one timestep to the next.
enum class Reset {
  kSoft,  // what its spikes did not carry
  kHard,  // that, or the negative of the initial potential where it fired
  kDual,  // what they did not carry, of each sign for itself
};

// Membrane potentials, less the initial one, between two timesteps; falling: of negative spikes,
// where they have a membrane of their own. resting: the initial potential in steps, which a hard
// reset loses.
struct Membranes {
  Reset reset;
  float resting;
  float* kept;
  float* falling;
};

struct TimeKernels {
  // One timestep of neurons that keep a membrane. y may be x.
  void (*fire)(const float* x, float* y, size_t n, const RowSteps&, const Decision&,
               const Membranes&);
  // y = (x[0] + .. + x[t]) / (t + 1), from x[t] and the sums before it, 0 at first. y may be x.
  void (*add_to_mean)(const float* x, float* y, size_t n, size_t t, float* sums);
  void (*rectify)(float* y, size_t n);
  // y[t] = (t + 1) x[t] - t x[t - 1]
  void (*telescope)(const float* x, float* y, size_t n, const Timesteps&);
};

struct Kernels {
  const char* name;
  void (*fire_floats)(const float* x, float* y, size_t n, const RowSteps&, const Decision&);
  void (*fire_counts)(const float* x, uint8_t* y, size_t n, const RowSteps&, const Decision&);
  TimeKernels time;
  SpikeTimeKernels spike_times;
  LinearKernels linear;
  ConvKernels conv;
  EventConvKernels event_conv;
};

// The best kernels for this processor, or those that snnc_kernels_use chose.
const Kernels& active_kernels();

}  // namespace snnc
