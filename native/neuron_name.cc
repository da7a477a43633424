#include "neuron_name.hpp"

#include <algorithm>
#include <limits>

namespace snnc {
namespace {

constexpr int64_t kMaxM = 10;         // half steps of every level set stay exact in float32
constexpr int64_t kMaxTop = 1 << 19;   // the largest level of any
constexpr int64_t kMaxN = 1024;        // fitted levels
constexpr int64_t kMaxCount = 1 << 15;  // grains of it stay exact in float32

// Both rules decide alike where levels have no gaps, under the name of the first. Neurons that
// never fire have no kernel: their function body is a constant.
void add_scale_and_fire(std::vector<NeuronName>& names) {
  for (const char* levels : {"Dense", "Linear", "Sformer", "Exponential", "Fitted"})
    for (const char* rule : {"Nearest", "Eq11"})
      for (const char* sides : {"Both", "Positive", "Negative"})
        for (const char* capped : {"", "Capped"})
          for (const char* limited : {"", "Limited"}) {
            NeuronName name{"", NeuronFamily::kScaleAndFire, sides, levels, rule[0] == 'E'};
            if (name.contiguous() ? name.eq11 : *limited != '\0') continue;
            name.text = std::string("Sfn") + levels + rule + sides + capped + limited;
            names.push_back(name);
          }
}

struct RateNeuron {
  const char* operation;
  NeuronFamily family;
  std::vector<const char*> sides, kinds;
  bool dual = false;
};

void add_rate_neurons(std::vector<NeuronName>& names) {
  const std::vector<const char*> every{"Both", "Positive", "Negative"};
  for (const RateNeuron& neuron : std::initializer_list<RateNeuron>{
           {"IntegrateFire", NeuronFamily::kIntegrateFire, {"Positive"}, {"", "Hard"}},
           {"MultiThreshold", NeuronFamily::kMultiThreshold, {"Positive"}, {""}},
           {"DualIntegrateFire", NeuronFamily::kIntegrateFire, every, {""}, true},
           {"DualMultiThreshold", NeuronFamily::kMultiThreshold, every, {""}, true},
           {"AugmentedIntegrateFire", NeuronFamily::kAugmented, every, {"", "HalfEven"}}})
    for (const char* sides : neuron.sides)
      for (const char* capped : {"", "Capped"})
        for (const std::string kind : neuron.kinds) {
          NeuronName name{neuron.operation + std::string(sides) + capped + kind, neuron.family,
                          sides};
          name.dual = neuron.dual;
          name.hard = kind == "Hard";
          name.half_even = kind == "HalfEven";
          names.push_back(name);
        }
}

std::vector<NeuronName> make_names() {
  std::vector<NeuronName> names;
  add_scale_and_fire(names);
  add_rate_neurons(names);
  return names;
}

int64_t ranged(const NodeInfo& info, const char* key, int64_t least, int64_t most) {
  const int64_t value = info.integer(key);
  if (value < least || value > most)
    info.refuse(std::string(key) + " must be from " + std::to_string(least) + " to " +
                std::to_string(most) + ", not " + std::to_string(value));
  return value;
}

void check_byte(const NeuronName& name, int64_t top, const NodeInfo& info) {
  const int64_t most = name.negative() ? 127 : 255;
  if (top > most)
    info.refuse("levels up to " + std::to_string(top) + " do not fit a byte: at most " +
                std::to_string(most));
}

// Levels 1 .. contiguous, and from there on gaps of 2, 4 .. , each for `octave` levels.
struct Levels {
  int64_t top, contiguous, octave;
};

Levels fitted_levels(const NodeInfo& info) {
  const int64_t n = ranged(info, "N", 1, kMaxN), k = ranged(info, "K", 1, n);
  const int64_t s = ranged(info, "S", 1, kMaxN), octaves = (n - k) / s;
  if ((s & (s - 1)) != 0) info.refuse("S must be a power of two, not " + std::to_string(s));
  const int64_t gap = octaves < 20 ? int64_t{2} << octaves : 4 * kMaxTop;
  const int64_t top = k + s * (gap - 2) + (n - k) % s * gap;
  if (top > kMaxTop) info.refuse("levels reach beyond " + std::to_string(kMaxTop));
  return {top, k, s};
}

// Before a limit cuts them.
Levels levels_of(const NeuronName& name, const NodeInfo& info) {
  if (name.levels == "Fitted") return fitted_levels(info);
  const int64_t m = ranged(info, "M", 1, kMaxM);
  if (name.levels == "Linear") return {2 * m, 2 * m, 1};
  if (name.levels == "Exponential") return {int64_t{1} << (2 * m - 1), 2, 1};
  return {m - 1 + (int64_t{1} << m), m + 1, 1};
}

int64_t limited(int64_t top, const NodeInfo& info) {
  const int64_t limit = info.integer("limit", 0);
  if (limit < 0) info.refuse("limit must be at least 0, not " + std::to_string(limit));
  return limit == 0 ? top : std::min(top, limit);
}

void decide_half_steps(const NeuronName& name, const NodeInfo& info, bool counts, Decision& d) {
  const Levels levels = levels_of(name, info);
  const int64_t top = limited(levels.top, info);
  if (counts) check_byte(name, top, info);
  d.levels = name.contiguous() ? LevelSet::kContiguous
             : name.eq11       ? LevelSet::kDoublingEq11
                               : LevelSet::kDoublingNearest;
  d.unit = kHalfSteps;
  d.limit = static_cast<float>(2 * top);
  d.octave = static_cast<int32_t>(levels.octave);
  d.gap_bit = 0x00800000 / d.octave;
  d.offset = static_cast<int32_t>(levels.contiguous - 2 * levels.octave);
}

int32_t initial_grains(const NodeInfo& info) {
  const float potential = info.number("potential"), grains = potential * kGrains;
  if (!(potential >= 0 && potential < 1) || grains != static_cast<float>(int32_t(grains)))
    info.refuse("potential must be from 0 to below 1, in steps of 1/256, not " +
                std::to_string(potential));
  return static_cast<int32_t>(grains);
}

// Where inputs are divided there are no grains, and so twice as many counts.
int64_t most_counts(const NeuronName& name) { return name.half_even ? 2 * kMaxCount : kMaxCount; }

int64_t highest_count(const NeuronName& name, const NodeInfo& info) {
  if (name.family == NeuronFamily::kIntegrateFire) return 1;
  return name.family == NeuronFamily::kMultiThreshold ? ranged(info, "N", 1, kMaxCount)
                                                      : ranged(info, "n_max", 0, most_counts(name));
}

// Counts one threshold apart, from lowest to highest. The sign of a count is that of its input, so
// that where both fire alike sizes decide.
void decide_thresholds(const NeuronName& name, const NodeInfo& info, bool counts, Decision& d) {
  const bool augmented = name.family == NeuronFamily::kAugmented;
  const int64_t highest = highest_count(name, info);
  const int64_t lowest = augmented ? -ranged(info, "n_min", -most_counts(name), 0) : 0;
  if (counts)
    check_byte(name, name.negative() ? std::max(highest, lowest) : highest, info);
  const float charge = augmented ? kGrains / 2 : initial_grains(info);
  d.offset = static_cast<int32_t>(charge);
  d.unit = name.half_even ? kThresholds : kGrains;
  d.limit = d.unit * static_cast<float>(highest);
  d.least = -d.unit * static_cast<float>(name.negative() ? lowest : 0);
  d.levels = name.half_even                  ? LevelSet::kDivided
             : augmented && name.negative() ? LevelSet::kFloored
                                            : LevelSet::kThresholds;
  if (d.levels == LevelSet::kFloored) d.least -= charge;
}

}  // namespace

const std::vector<NeuronName>& neuron_names() {
  static const std::vector<NeuronName> names = make_names();
  return names;
}

Decision decision_of(const NeuronName& name, const NodeInfo& info, bool counts) {
  Decision d{};
  d.two_sided = name.negative();
  d.zero_point = name.negative() ? 128 : 0;
  d.bound = info.number("bound", std::numeric_limits<float>::infinity());
  if (!(d.bound > 0)) info.refuse("bound must be positive");
  if (name.family == NeuronFamily::kScaleAndFire)
    decide_half_steps(name, info, counts, d);
  else
    decide_thresholds(name, info, counts, d);
  return d;
}

}  // namespace snnc
