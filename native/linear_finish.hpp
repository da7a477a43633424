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
    store(y, not_negative(Contiguous::level(truncated(smaller(limit, drive * inverse)), {})));
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

// What follows the sums of one product.
template <class Sum, class Result, Activation kActivation, bool kAdd, bool kKept>
class Finish {
 public:
  explicit Finish(const LinearFinish& f) : f_(f), result_(f) {}
  SNNC_INLINE void operator()(const SumBlock<Sum>& block) const {
    // copies: what is written may else be thought to change them
    const LinearFinish f = f_;
    const Result result = result_;
    size_t c = 0;
    for (; c + 2 * kLanes <= block.columns; c += 2 * kLanes)
      finish_vectors<2, Sum, Result, kActivation, kAdd, kKept>(block, f, result, c);
    for (; c + kLanes <= block.columns; c += kLanes)
      finish_vectors<1, Sum, Result, kActivation, kAdd, kKept>(block, f, result, c);
    if (c < block.columns)
      finish_rest<Sum, Result, kActivation, kAdd, kKept>(block, f, result, c);
  }

 private:
  const LinearFinish f_;
  const Result result_;
};

template <class Result, Activation kActivation, bool kAdd, class Visit>
void with_finish(const LinearFinish& f, const Visit& visit) {
  // what is no count is the result itself
  constexpr bool kCount = !std::is_same<Result, Drive>::value;
  if (kCount && f.kept) return visit(Finish<int32_t, Result, kActivation, kAdd, kCount>(f));
  visit(Finish<int32_t, Result, kActivation, kAdd, false>(f));
}

template <class Result, Activation kActivation, class Visit>
void with_finish(const LinearFinish& f, const Visit& visit) {
  if (f.addend) return with_finish<Result, kActivation, true>(f, visit);
  with_finish<Result, kActivation, false>(f, visit);
}

template <class Result, class Visit>
void with_finish(const LinearFinish& f, const Visit& visit) {
  switch (f.activation) {
    case Activation::kNone:
      return with_finish<Result, Activation::kNone>(f, visit);
    case Activation::kGelu:
      return with_finish<Result, Activation::kGelu>(f, visit);
    case Activation::kRelu:
      return with_finish<Result, Activation::kRelu>(f, visit);
  }
}

// Calls visit with what finishes blocks of integer sums.
template <class Visit>
void with_finish(const LinearFinish& f, const Visit& visit) {
  if (!f.decision) return with_finish<Drive>(f, visit);
  f.decision->two_sided ? with_finish<CountBoth>(f, visit)
                        : with_finish<CountPositive>(f, visit);
}

// Finishes a single block, whose sums took longer than the choice of what finishes it.
inline void finish_block(const SumBlock<int32_t>& block, const LinearFinish& f) {
  with_finish(f, [&](const auto& finish) { finish(block); });
}

// Float sums are those of FloatLinear, which nothing is fused behind.
using FloatFinish = Finish<float, Drive, Activation::kNone, false, false>;

}  // namespace SNNC_ISA
}  // namespace snnc
