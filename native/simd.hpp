// Vectors of the instruction set that this translation unit is compiled for (GCC and Clang).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef SNNC_ISA
#error "compile kernels.cc with -DSNNC_ISA=<name of the instruction set>"
#endif

#define SNNC_INLINED __attribute__((always_inline))
#define SNNC_INLINE inline SNNC_INLINED

namespace snnc {
namespace SNNC_ISA {

#if defined(__AVX512F__)
constexpr size_t kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr size_t kVectorBytes = 32;
#else
constexpr size_t kVectorBytes = 16;
#endif
constexpr size_t kLanes = kVectorBytes / sizeof(float);

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef int32_t Ints __attribute__((vector_size(kVectorBytes)));
typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

inline Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
// The first n lanes, the others 0.
inline Floats load(const float* p, size_t n) {
  if (n == kLanes) return load(p);
  Floats v{};
  std::memcpy(&v, p, n * sizeof(float));
  return v;
}
inline void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
inline void store(float* p, Floats v, size_t n) {
  if (n == kLanes) return store(p, v);
  std::memcpy(p, &v, n * sizeof(float));
}
inline Floats all(float value) { return Floats{} + value; }
inline Ints all(int32_t value) { return Ints{} + value; }

inline Ints bits(Floats v) { return reinterpret_cast<Ints>(v); }
inline Floats floats(Ints v) { return reinterpret_cast<Floats>(v); }
// The smaller of the two; b where either is NaN.
inline Floats smaller(Floats a, Floats b) {
#if defined(__AVX512F__)
  return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_min_ps(a, b);
#elif defined(__SSE2__)
  return _mm_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}
// The larger of the two; b where either is NaN.
inline Floats larger(Floats a, Floats b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#elif defined(__SSE2__)
  return _mm_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
// sum + a b, rounded once where the instruction set can.
inline Floats multiply_add(Floats a, Floats b, Floats sum) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, sum);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a, b, sum);
#else
  return sum + a * b;
#endif
}
// v where the mask holds, else 0.
inline Floats where(Ints mask, Floats v) { return floats(mask & bits(v)); }
inline Ints not_negative(Ints v) { return v > 0 ? v : Ints{}; }
// Towards zero; NaN and what int32 cannot hold give a number that is not positive, or the largest.
inline Ints truncated(Floats v) { return __builtin_convertvector(v, Ints); }
inline Floats to_floats(Ints v) { return __builtin_convertvector(v, Floats); }
// The largest integer not above v, of |v| < 2^31.
inline Ints floored(Floats v) {
  const Ints whole = truncated(v);
  return whole + (to_floats(whole) > v);
}
// The largest whole number not above v, of 0 <= v < 2^31.
inline Floats whole_part(Floats v) {
#if defined(__AVX512F__)
  return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
  return _mm256_floor_ps(v);
#else
  return to_floats(truncated(v));
#endif
}
// The nearest integer, ties to even, of |v| < 2^22.
inline Ints rounded(Floats v) {
  const Floats shift = all(12582912.0f);  // 1.5 * 2^23: the last bit of a sum with it counts ones
  return bits(v + shift) - bits(shift);
}
// The low byte of every lane.
inline void store(uint8_t* p, Ints v) {
  const Bytes low = __builtin_convertvector(v, Bytes);
  std::memcpy(p, &low, sizeof low);
}

// visit(i, n) for every vector of n inputs in a row, the last one perhaps not whole.
template <class Visit>
SNNC_INLINE void each_vector(size_t n, const Visit& visit) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) visit(i, kLanes);
  if (i < n) visit(i, n - i);
}

}  // namespace SNNC_ISA
}  // namespace snnc
