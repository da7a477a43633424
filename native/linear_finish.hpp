// What follows the sums of a matrix product: scale, bias, residual, activation and the neuron's count.
#pragma once

#include <type_traits>

#include "gelu.hpp"
#include "linear_kernels.hpp"
#include "neuron.hpp"
#include "words.hpp"

namespace snnc {
namespace SNNC_ISA {

// A block of sums and where in the result it lies.
template <class Sum>
struct SumBlock {
  const Sum* sums;  // rows are readable up to whole vectors
  size_t stride, rows, columns;
  size_t row, column;
};

inline Floats floats_of(const float* sums) { return load(sums); }
inline Floats floats_of(const int32_t* sums) {
  Ints v;
  std::memcpy(&v, sums, sizeof v);
  return to_floats(v);
}

inline Floats load_some(const float* p, size_t n) {
  if (n == kLanes) return load(p);
  Floats v{};
  std::memcpy(&v, p, n * sizeof(float));
  return v;
}

// Each operation is rounded, as in the function body.
template <class Sum, Activation kActivation>
SNNC_INLINE Floats drive(const Sum* sums, size_t place, size_t column, size_t n,
                         const LinearFinish& f) {
  Floats y = floats_of(sums);
  if (std::is_same<Sum, int32_t>::value) y = y * load(f.scale + column);
  y = y + load(f.bias + column);
  if (f.addend) y = y + load_some(f.addend + place, n);
  if (kActivation == Activation::kGelu) return gelu(y);
  if (kActivation == Activation::kRelu) return y < 0.0f ? Floats{} : y;
  return y;
}

// The result itself.
struct Drive {
  using Out = float;
  explicit Drive(const LinearFinish&) {}
  SNNC_INLINE void put(float* y, Floats drive) const { store(y, drive); }
};

// The count of a neuron that the result drives.
template <bool kTwoSided>
struct Count {
  using Out = uint8_t;
  Decision decision;
  Floats positive, negative;

  explicit Count(const LinearFinish& f)
      : decision(*f.decision),
        positive(all(*f.steps->positive_inverse)),
        negative(all(*f.steps->negative_inverse)) {}
  SNNC_INLINE void put(uint8_t* y, Floats drive) const {
    const Fired fired = fire<Contiguous, kTwoSided>(drive, positive, negative, decision);
    emit(y, fired, Floats{}, Floats{}, decision.zero_point);
  }
};

// By value: what is written may else be thought to change the parameters.
template <class Sum, class Result, Activation kActivation>
void finish_as(const SumBlock<Sum> block, const LinearFinish f) {
  using Out = typename Result::Out;
  const Result result(f);
  for (size_t r = 0; r < block.rows; ++r) {
    const Sum* sums = block.sums + r * block.stride;
    const size_t place = (block.row + r) * f.stride + block.column;
    Out* y = static_cast<Out*>(f.result) + place;
    size_t c = 0;
    for (; c + kLanes <= block.columns; c += kLanes)
      result.put(y + c, drive<Sum, kActivation>(sums + c, place + c, block.column + c, kLanes, f));
    if (c == block.columns) continue;
    const size_t rest = block.columns - c;
    Out last[kLanes];
    result.put(last, drive<Sum, kActivation>(sums + c, place + c, block.column + c, rest, f));
    std::memcpy(y + c, last, rest * sizeof(Out));
  }
}

template <class Sum, class Result>
void finish_as(const SumBlock<Sum>& block, const LinearFinish& f) {
  switch (f.activation) {
    case Activation::kNone:
      return finish_as<Sum, Result, Activation::kNone>(block, f);
    case Activation::kGelu:
      return finish_as<Sum, Result, Activation::kGelu>(block, f);
    case Activation::kRelu:
      return finish_as<Sum, Result, Activation::kRelu>(block, f);
  }
}

template <class Sum>
void finish(const SumBlock<Sum>& block, const LinearFinish& f) {
  if (!f.decision) return finish_as<Sum, Drive>(block, f);
  return f.decision->two_sided ? finish_as<Sum, Count<true>>(block, f)
                               : finish_as<Sum, Count<false>>(block, f);
}

}  // namespace SNNC_ISA
}  // namespace snnc
