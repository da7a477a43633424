// What the name of an operation says of its neuron, and the decision that its attributes complete.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"
#include "op.hpp"

namespace snnc {

enum class NeuronFamily { kScaleAndFire, kIntegrateFire, kMultiThreshold, kAugmented };

// E.g. SfnDenseNearestBothLimited, DualMultiThresholdNegative, IntegrateFirePositiveCappedHard.
struct NeuronName {
  std::string text;
  NeuronFamily family;
  std::string sides;      // Both, Positive or Negative
  std::string levels{};   // of scale-and-fire neurons: Dense, Sformer, Linear, Exponential or Fitted
  bool eq11 = false;      // of scale-and-fire neurons
  bool dual = false;      // each sign has a membrane of its own
  bool hard = false;      // a spike resets the membrane
  bool half_even = false; // of augmented ones: divides, ties go to even counts
  bool positive() const { return sides == "Both" || sides == "Positive"; }
  bool negative() const { return sides == "Both" || sides == "Negative"; }
  bool contiguous() const { return levels == "Dense" || levels == "Linear"; }
};

// Every neuron that has a kernel.
const std::vector<NeuronName>& neuron_names();

// The decision of a neuron from its node's attributes; refuses what is out of range. counts: it
// emits bytes, which its levels must fit.
Decision decision_of(const NeuronName& name, const NodeInfo& info, bool counts);

}  // namespace snnc
