// Operations over several timesteps, which are folded into the first axis of x, time first.
#pragma once

#include "op.hpp"

namespace snnc {

// <neuron>OverTime for every neuron; RunningMean and Telescope.
void add_time_operations(Operations& operations);

}  // namespace snnc
