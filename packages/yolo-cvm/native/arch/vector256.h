// What AVX2 and AVX-VNNI share: 256-bit registers of eight int32 lanes.
#pragma once
#include <immintrin.h>

#include "winograd.h"

namespace cvm {
namespace {

struct Vector256 {
  static constexpr bool gathers = false;
  static constexpr bool packs = false;
  static constexpr bool masks = false;
  static constexpr int L = 8;
  using I = __m256i;
  static I load(const int32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static void store(int32_t* p, I x) { _mm256_storeu_si256((__m256i*)p, x); }
  static I set1(int32_t x) { return _mm256_set1_epi32(x); }
  static I add(I a, I b) { return _mm256_add_epi32(a, b); }
  static I widen(const uint8_t* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
  }
  static I widen(const int8_t* p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p));
  }
  static I widen(const int16_t* p) {
    return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)p));
  }
  static I widen(const int32_t* p) { return load(p); }
  static I signed_halves(const void* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)p));
  }
  static I unsigned_halves(const void* p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)p));
  }
  // The values fit the narrower type, so saturation does not occur.
  static __m128i words(I x) {
    return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  }
  static void narrow(I x, uint8_t* p) {
    const __m128i low = _mm_and_si128(words(x), _mm_set1_epi16(0xff));
    _mm_storel_epi64((__m128i*)p, _mm_packus_epi16(low, low));
  }
  static void narrow(I x, int16_t* p) { _mm_storeu_si128((__m128i*)p, words(x)); }
  static void narrow(I x, int32_t* p) { store(p, x); }
  // Keeps the compiler from reasoning about the value, and in a register.
  template <class T>
  static void pin(T& x) {
    asm volatile("" : "+x"(x));
  }
  static I sub(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I gather(const int32_t* p, I x) { return _mm256_i32gather_epi32(p, x, 4); }
  static I mul(I a, I b) { return _mm256_mullo_epi32(a, b); }
  static I min(I a, I b) { return _mm256_min_epi32(a, b); }
  static I max(I a, I b) { return _mm256_max_epi32(a, b); }
  // A count for every lane: one instruction where a count for all takes two.
  static I sar(I a, int32_t s) { return _mm256_srav_epi32(a, set1(s)); }
  static I bit(I a, int32_t s) { return _mm256_and_si256(sar(a, s), set1(1)); }
  static __m256i broadcast(const uint8_t* p) {
    int32_t x;
    memcpy(&x, p, 4);
    return _mm256_set1_epi32(x);
  }
  static void store_index(uint16_t* p, I x) {
    const __m128i low = _mm256_castsi256_si128(x), high = _mm256_extracti128_si256(x, 1);
    _mm_storeu_si128((__m128i*)p, _mm_packus_epi32(low, high));
  }
  static void lookup(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
                     const ByteSink& sink) {
    lookup_tile<Vector256>(index, pixels, lanes, valid, sink);
  }
};

}  // namespace
}  // namespace cvm
