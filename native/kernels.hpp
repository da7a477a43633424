// What every instruction set provides: one table of kernels, chosen when the library is loaded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "conv_shape.hpp"
#include "linear_kernels.hpp"

namespace snnc {

enum class LevelSet { kContiguous, kDoublingNearest, kDoublingEq11 };

// The parameters of a neuron that its decision needs.
struct Decision {
  LevelSet levels;
  bool two_sided;      // false: positive spikes only
  float limit;         // 2 top, in half steps
  int32_t offset;      // levels 1 .. offset lie one step apart, then come offset + 2^j
  float bound;         // inputs above it count as it does
  int32_t zero_point;  // what a count of 0 is as a byte
};

// Steps of one row of inputs. Inverses are 2 / step, 0 for a dead branch.
// each_input: arrays of the row's length, else single numbers.
struct RowSteps {
  const float* positive_inverse;
  const float* negative_inverse;
  const float* positive;
  const float* negative;
  bool each_input;
};

struct Kernels {
  const char* name;
  void (*fire_floats)(const float* x, float* y, size_t n, const RowSteps&, const Decision&);
  void (*fire_counts)(const float* x, uint8_t* y, size_t n, const RowSteps&, const Decision&);
  LinearKernels linear;
  ConvKernels conv;
};

// The best kernels for this processor, or those that snnc_kernels_use chose.
const Kernels& active_kernels();

}  // namespace snnc
