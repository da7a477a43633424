// Vectors of 32-bit words of four bytes, and the products of bytes that an instruction set has.
//
// kHasDot4: dot4 multiplies unsigned by signed bytes and adds four products to each word, exactly.
// Else: even_bytes / odd_bytes widen to int16 and dot2 adds two products. Nothing here saturates.
// interleave_*: units of a and b in turn, from the low or high half of every 128 bits.
#pragma once

#include <type_traits>

#include "simd.hpp"

namespace snnc {
namespace SNNC_ISA {

SNNC_INLINE int32_t word_at(const void* p) {
  int32_t word;
  std::memcpy(&word, p, 4);
  return word;
}

#if defined(__AVX512BW__)

using Words = __m512i;
SNNC_INLINE Words load_words(const void* p) { return _mm512_loadu_si512(p); }
SNNC_INLINE void store_words(void* p, Words a) { _mm512_storeu_si512(p, a); }
SNNC_INLINE Words broadcast_word(const void* p) { return _mm512_set1_epi32(word_at(p)); }
SNNC_INLINE Words add_words(Words a, Words b) { return _mm512_add_epi32(a, b); }
SNNC_INLINE Words dot2(Words sum, Words a, Words b) {
  return add_words(sum, _mm512_madd_epi16(a, b));
}
template <bool kUnsigned>
SNNC_INLINE Words even_bytes(Words a) {
  return kUnsigned ? _mm512_and_si512(a, _mm512_set1_epi16(0xff))
                  : _mm512_srai_epi16(_mm512_slli_epi16(a, 8), 8);
}
template <bool kUnsigned>
SNNC_INLINE Words odd_bytes(Words a) {
  return kUnsigned ? _mm512_srli_epi16(a, 8) : _mm512_srai_epi16(a, 8);
}
SNNC_INLINE Words interleave_low_bytes(Words a, Words b) { return _mm512_unpacklo_epi8(a, b); }
SNNC_INLINE Words interleave_low_halves(Words a, Words b) { return _mm512_unpacklo_epi16(a, b); }
SNNC_INLINE Words interleave_high_bytes(Words a, Words b) { return _mm512_unpackhi_epi8(a, b); }
SNNC_INLINE Words interleave_high_halves(Words a, Words b) { return _mm512_unpackhi_epi16(a, b); }

#elif defined(__AVX2__)

using Words = __m256i;
SNNC_INLINE Words load_words(const void* p) {
  return _mm256_loadu_si256(static_cast<const Words*>(p));
}
SNNC_INLINE void store_words(void* p, Words a) {
  _mm256_storeu_si256(static_cast<Words*>(p), a);
}
SNNC_INLINE Words broadcast_word(const void* p) { return _mm256_set1_epi32(word_at(p)); }
SNNC_INLINE Words add_words(Words a, Words b) { return _mm256_add_epi32(a, b); }
SNNC_INLINE Words dot2(Words sum, Words a, Words b) {
  return add_words(sum, _mm256_madd_epi16(a, b));
}
template <bool kUnsigned>
SNNC_INLINE Words even_bytes(Words a) {
  return kUnsigned ? _mm256_and_si256(a, _mm256_set1_epi16(0xff))
                  : _mm256_srai_epi16(_mm256_slli_epi16(a, 8), 8);
}
template <bool kUnsigned>
SNNC_INLINE Words odd_bytes(Words a) {
  return kUnsigned ? _mm256_srli_epi16(a, 8) : _mm256_srai_epi16(a, 8);
}
SNNC_INLINE Words interleave_low_bytes(Words a, Words b) { return _mm256_unpacklo_epi8(a, b); }
SNNC_INLINE Words interleave_low_halves(Words a, Words b) { return _mm256_unpacklo_epi16(a, b); }
SNNC_INLINE Words interleave_high_bytes(Words a, Words b) { return _mm256_unpackhi_epi8(a, b); }
SNNC_INLINE Words interleave_high_halves(Words a, Words b) { return _mm256_unpackhi_epi16(a, b); }

#elif defined(__SSE2__)

using Words = __m128i;
SNNC_INLINE Words load_words(const void* p) {
  return _mm_loadu_si128(static_cast<const Words*>(p));
}
SNNC_INLINE void store_words(void* p, Words a) {
  _mm_storeu_si128(static_cast<Words*>(p), a);
}
SNNC_INLINE Words broadcast_word(const void* p) { return _mm_set1_epi32(word_at(p)); }
SNNC_INLINE Words add_words(Words a, Words b) { return _mm_add_epi32(a, b); }
SNNC_INLINE Words dot2(Words sum, Words a, Words b) {
  return add_words(sum, _mm_madd_epi16(a, b));
}
template <bool kUnsigned>
SNNC_INLINE Words even_bytes(Words a) {
  return kUnsigned ? _mm_and_si128(a, _mm_set1_epi16(0xff))
                  : _mm_srai_epi16(_mm_slli_epi16(a, 8), 8);
}
template <bool kUnsigned>
SNNC_INLINE Words odd_bytes(Words a) {
  return kUnsigned ? _mm_srli_epi16(a, 8) : _mm_srai_epi16(a, 8);
}
SNNC_INLINE Words interleave_low_bytes(Words a, Words b) { return _mm_unpacklo_epi8(a, b); }
SNNC_INLINE Words interleave_low_halves(Words a, Words b) { return _mm_unpacklo_epi16(a, b); }
SNNC_INLINE Words interleave_high_bytes(Words a, Words b) { return _mm_unpackhi_epi8(a, b); }
SNNC_INLINE Words interleave_high_halves(Words a, Words b) { return _mm_unpackhi_epi16(a, b); }

#else

typedef uint32_t Words __attribute__((vector_size(16)));
typedef int16_t Halves __attribute__((vector_size(16)));
SNNC_INLINE Words load_words(const void* p) {
  Words a;
  std::memcpy(&a, p, sizeof a);
  return a;
}
SNNC_INLINE void store_words(void* p, Words a) { std::memcpy(p, &a, sizeof a); }
SNNC_INLINE Words broadcast_word(const void* p) {
  return Words{} + static_cast<uint32_t>(word_at(p));
}
SNNC_INLINE Words add_words(Words a, Words b) { return a + b; }
SNNC_INLINE Words dot2(Words sum, Words a, Words b) {
  typedef int32_t Signed __attribute__((vector_size(16)));
  const Signed low = ((Signed)(a << 16) >> 16) * ((Signed)(b << 16) >> 16);
  const Signed high = ((Signed)a >> 16) * ((Signed)b >> 16);
  return sum + (Words)low + (Words)high;
}
template <bool kUnsigned>
SNNC_INLINE Words even_bytes(Words a) {
  const Halves h = (Halves)a;
  return kUnsigned ? (Words)(h & 0xff) : (Words)((Halves)(h << 8) >> 8);
}
template <bool kUnsigned>
SNNC_INLINE Words odd_bytes(Words a) {
  const Halves h = (Halves)a;
  return kUnsigned ? (Words)((h >> 8) & 0xff) : (Words)(h >> 8);
}
template <class Unit>
SNNC_INLINE Words interleave(Words a, Words b, size_t half) {
  constexpr size_t kUnits = sizeof(Words) / sizeof(Unit);
  Unit left[kUnits], right[kUnits], both[kUnits];
  std::memcpy(left, &a, sizeof a);
  std::memcpy(right, &b, sizeof b);
  for (size_t i = 0; i < kUnits / 2; ++i) {
    both[2 * i] = left[half * kUnits / 2 + i];
    both[2 * i + 1] = right[half * kUnits / 2 + i];
  }
  return load_words(both);
}
SNNC_INLINE Words interleave_low_bytes(Words a, Words b) { return interleave<uint8_t>(a, b, 0); }
SNNC_INLINE Words interleave_high_bytes(Words a, Words b) { return interleave<uint8_t>(a, b, 1); }
SNNC_INLINE Words interleave_low_halves(Words a, Words b) {
  return interleave<uint16_t>(a, b, 0);
}
SNNC_INLINE Words interleave_high_halves(Words a, Words b) {
  return interleave<uint16_t>(a, b, 1);
}

#endif

#if defined(__AVX512VNNI__)
constexpr bool kHasDot4 = true;
SNNC_INLINE Words dpbusd(Words sum, Words u, Words s) { return _mm512_dpbusd_epi32(sum, u, s); }
#elif defined(__AVXVNNI__)
constexpr bool kHasDot4 = true;
SNNC_INLINE Words dpbusd(Words sum, Words u, Words s) { return _mm256_dpbusd_avx_epi32(sum, u, s); }
#else
constexpr bool kHasDot4 = false;
SNNC_INLINE Words dpbusd(Words sum, Words, Words) { return sum; }
#endif

// An entry of what is packed for the tile, 4 or 2 a word.
using Entry = std::conditional_t<kHasDot4, uint8_t, int16_t>;

template <bool kFirstSigned>
SNNC_INLINE Words dot4(Words sum, Words a, Words b) {
  return kFirstSigned ? dpbusd(sum, b, a) : dpbusd(sum, a, b);
}

constexpr int kWordBytes = sizeof(Words);
constexpr int kWordLanes = kWordBytes / 4;

}  // namespace SNNC_ISA
}  // namespace snnc
