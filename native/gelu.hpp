// Gelu on vectors, by one formula in every place: z times the normal distribution function.
#pragma once

#include "simd.hpp"

namespace snnc {
namespace SNNC_ISA {

// erf by Abramowitz and Stegun 7.1.28; each operation is rounded, in the function body's order.
inline Floats gelu(Floats z) {
  const Floats s = floats(bits(z) & 0x7fffffff) * 0.70710678118654752f;
  Floats p = all(.0000430638f);
  p = p * s + .0002765672f;
  p = p * s + .0001520143f;
  p = p * s + .0092705272f;
  p = p * s + .0422820123f;
  p = p * s + .0705230784f;
  p = p * s + 1.0f;
  for (int i = 0; i < 4; ++i) p = p * p;
  const Floats r = 1.0f / p;
  const Floats low = z < 0.0f ? r : 2.0f - r;
  return (0.5f * z) * low;
}

}  // namespace SNNC_ISA
}  // namespace snnc
