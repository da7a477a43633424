// What follows the sums of a matrix product: scale, bias, residual, activation and the neuron's count.
#pragma once

#include <algorithm>
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

// n entries, fewer than a vector holds.
inline Floats load_some(const float* p, size_t n) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#else
  Floats v{};
  std::memcpy(&v, p, n * sizeof(float));
  return v;
#endif
}
inline void store_some(float* to, Floats v, size_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << n) - 1), v);
#else
  std::memcpy(to, &v, n * sizeof(float));
#endif
}
inline void store_some(float* to, const float* entries, size_t n) {
  store_some(to, load(entries), n);
}
inline void store_some(uint8_t* to, const uint8_t* entries, size_t n) {
#if defined(__AVX512BW__)
  _mm_mask_storeu_epi8(to, static_cast<__mmask16>((1u << n) - 1),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
#else
  std::memcpy(to, entries, n);
#endif
}

// Scale and bias of a vector of columns.
template <class Sum>
struct Affine {
  Floats scale, bias;
  SNNC_INLINE void load_from(const LinearFinish& f, size_t column) {
    if (std::is_same<Sum, int32_t>::value) scale = load(f.scale + column);
    bias = load(f.bias + column);
  }
  SNNC_INLINE Floats of(const Sum* sums) const {
    const Floats y = floats_of(sums);
    return (std::is_same<Sum, int32_t>::value ? y * scale : y) + bias;
  }
};

template <Activation kActivation>
SNNC_INLINE Floats activated(Floats y) {
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
struct CountBoth {
  using Out = uint8_t;
  Decision decision;
  Floats positive, negative;

  explicit CountBoth(const LinearFinish& f)
      : decision(*f.decision),
        positive(all(*f.steps->positive_inverse)),
        negative(all(*f.steps->negative_inverse)) {}
  SNNC_INLINE void put(uint8_t* y, Floats drive) const {
    const Fired fired = fire<Contiguous, true>(drive, positive, negative, decision);
    emit(y, fired, Floats{}, Floats{}, decision.zero_point);
  }
};

// The same of positive spikes only: the bound becomes a part of the limit, since products with the
// inverse round monotonically.
struct CountPositive {
  using Out = uint8_t;
  Floats limit, inverse;

  explicit CountPositive(const LinearFinish& f)
      : limit(all(limit_of(*f.decision, *f.steps->positive_inverse))),
        inverse(all(*f.steps->positive_inverse)) {}
  SNNC_INLINE void put(uint8_t* y, Floats drive) const {
    store(y, not_negative(Contiguous::level(truncated(smaller(limit, drive * inverse)), 0)));
  }

 private:
  static float limit_of(const Decision& d, float inverse) {
    const float bound = d.bound * inverse;  // NaN: an infinite bound of a dead branch
    return bound < d.limit ? bound : d.limit;
  }
};

// Some vectors of columns, of all rows. Each operation is rounded, as in the function body.
template <size_t kVectors, class Sum, class Result, Activation kActivation, bool kAdd, bool kKept>
SNNC_INLINE void finish_vectors(const SumBlock<Sum>& block, const LinearFinish& f,
                                const Result& result, size_t c) {
  Affine<Sum> affine[kVectors];
#pragma GCC unroll 4
  for (size_t v = 0; v < kVectors; ++v) affine[v].load_from(f, block.column + c + v * kLanes);
  const Sum* sums = block.sums + c;
  size_t place = block.row * f.stride + block.column + c;
  for (size_t r = 0; r < block.rows; ++r, sums += block.stride, place += f.stride)
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      Floats y = affine[v].of(sums + v * kLanes);
      if (kAdd) y = y + load(f.addend + place + v * kLanes);
      auto* out = static_cast<typename Result::Out*>(f.result) + place + v * kLanes;
      y = activated<kActivation>(y);
      if (kKept) store(f.kept + place + v * kLanes, y);
      result.put(out, y);
    }
}

// The last columns, fewer than a vector holds.
template <class Sum, class Result, Activation kActivation, bool kAdd, bool kKept>
SNNC_INLINE void finish_rest(const SumBlock<Sum>& block, const LinearFinish& f,
                             const Result& result, size_t c) {
  const size_t rest = block.columns - c;
  Affine<Sum> affine;
  affine.load_from(f, block.column + c);
  const Sum* sums = block.sums + c;
  size_t place = block.row * f.stride + block.column + c;
  for (size_t r = 0; r < block.rows; ++r, sums += block.stride, place += f.stride) {
    Floats y = affine.of(sums);
    if (kAdd) y = y + load_some(f.addend + place, rest);
    y = activated<kActivation>(y);
    if (kKept) store_some(f.kept + place, y, rest);
    typename Result::Out last[kLanes];
    result.put(last, y);
    store_some(static_cast<typename Result::Out*>(f.result) + place, last, rest);
  }
}

// By value: what is written may else be thought to change the parameters.
template <class Sum, class Result, Activation kActivation, bool kAdd, bool kKept>
void finish_as(const SumBlock<Sum> block, const LinearFinish f) {
  const Result result(f);
  size_t c = 0;
  for (; c + 2 * kLanes <= block.columns; c += 2 * kLanes)
    finish_vectors<2, Sum, Result, kActivation, kAdd, kKept>(block, f, result, c);
  for (; c + kLanes <= block.columns; c += kLanes)
    finish_vectors<1, Sum, Result, kActivation, kAdd, kKept>(block, f, result, c);
  if (c < block.columns) finish_rest<Sum, Result, kActivation, kAdd, kKept>(block, f, result, c);
}

template <class Sum, class Result, Activation kActivation, bool kAdd>
void finish_as(const SumBlock<Sum>& block, const LinearFinish& f) {
  // what is no count is the result itself
  constexpr bool kCount = !std::is_same<Result, Drive>::value;
  kCount && f.kept ? finish_as<Sum, Result, kActivation, kAdd, kCount>(block, f)
                   : finish_as<Sum, Result, kActivation, kAdd, false>(block, f);
}

template <class Sum, class Result, Activation kActivation>
void finish_as(const SumBlock<Sum>& block, const LinearFinish& f) {
  f.addend ? finish_as<Sum, Result, kActivation, true>(block, f)
           : finish_as<Sum, Result, kActivation, false>(block, f);
}

template <class Result>
void finish_as(const SumBlock<int32_t>& block, const LinearFinish& f) {
  switch (f.activation) {
    case Activation::kNone:
      return finish_as<int32_t, Result, Activation::kNone>(block, f);
    case Activation::kGelu:
      return finish_as<int32_t, Result, Activation::kGelu>(block, f);
    case Activation::kRelu:
      return finish_as<int32_t, Result, Activation::kRelu>(block, f);
  }
}

inline void finish(const SumBlock<int32_t>& block, const LinearFinish& f) {
  if (!f.decision) return finish_as<Drive>(block, f);
  return f.decision->two_sided ? finish_as<CountBoth>(block, f)
                               : finish_as<CountPositive>(block, f);
}

// Float sums are those of FloatLinear, which nothing is fused behind.
inline void finish(const SumBlock<float>& block, const LinearFinish& f) {
  finish_as<float, Drive, Activation::kNone, false, false>(block, f);
}

}  // namespace SNNC_ISA
}  // namespace snnc
