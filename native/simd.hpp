// Vectors of the instruction set that this translation unit is compiled for (GCC and Clang).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifndef SNNC_ISA
#error "compile kernels.cc with -DSNNC_ISA=<name of the instruction set>"
#endif

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
inline void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
inline Floats all(float value) { return Floats{} + value; }
inline Ints all(int32_t value) { return Ints{} + value; }

inline Ints bits(Floats v) { return reinterpret_cast<Ints>(v); }
inline Floats floats(Ints v) { return reinterpret_cast<Floats>(v); }
// a where the mask is set, else b.
inline Floats select(Ints mask, Floats a, Floats b) {
  return floats((bits(a) & mask) | (bits(b) & ~mask));
}
// Towards zero; meaningless outside the range of int32, and for NaN.
inline Ints truncated(Floats v) { return __builtin_convertvector(v, Ints); }
inline Floats to_floats(Ints v) { return __builtin_convertvector(v, Floats); }
// The low byte of every lane.
inline void store(uint8_t* p, Ints v) {
  const Bytes low = __builtin_convertvector(v, Bytes);
  std::memcpy(p, &low, sizeof low);
}

}  // namespace SNNC_ISA
}  // namespace snnc
