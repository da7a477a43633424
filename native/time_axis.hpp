// Several timesteps folded into the first axis, time first; what neurons keep from one to the next.
#pragma once

#include "neuron_ops.hpp"

namespace snnc {

constexpr int64_t kMostTimesteps = int64_t{1} << 31;  // beyond it, sizes could not be computed with

// The attribute `timesteps` of a node.
class TimeAxis {
 public:
  explicit TimeAxis(const NodeInfo& info) : timesteps_(info.integer("timesteps")) {
    if (timesteps_ < 1)
      info.refuse("timesteps must be at least 1, not " + std::to_string(timesteps_));
    if (timesteps_ > kMostTimesteps)
      info.refuse("timesteps of " + std::to_string(timesteps_) + " are too many");
  }
  size_t timesteps() const { return static_cast<size_t>(timesteps_); }
  // The shape of one timestep; refuses inputs that cannot be unfolded.
  Shape unfolded(Shape shape) const {
    if (shape.rank() == 0) throw Error("the input is a single number: its first axis holds time");
    if (shape[0] % timesteps_ != 0)
      throw Error("inputs of shape " + shape.text() + " are not " + std::to_string(timesteps_) +
                  " timesteps: the first axis does not divide");
    shape[0] /= timesteps_;
    return shape;
  }
  Shape folded(Shape shape) const {
    if (shape.rank() == 0) throw Error("the input is a single number: its first axis holds samples");
    shape[0] *= timesteps_;
    return shape;
  }

 private:
  int64_t timesteps_;
};

// What a layer of neurons decides by, and how spikes change its membranes.
class MembraneKind {
 public:
  MembraneKind(const NeuronName& name, const NodeInfo& info)
      : decision_(decision_of(name, info, false)),
        reset_(name.dual   ? Reset::kDual
               : name.hard ? Reset::kHard
                           : Reset::kSoft),
        resting_(name.hard ? info.number("potential") : 0) {}
  const Decision& decision() const { return decision_; }
  // kept, falling: of the same neurons, 0 before the first timestep.
  Membranes at(float* kept, float* falling) const { return {reset_, resting_, kept, falling}; }

 private:
  Decision decision_;
  Reset reset_;
  float resting_;
};

}  // namespace snnc
