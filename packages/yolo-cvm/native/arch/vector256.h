// What AVX2 and AVX-VNNI share: 256-bit registers of eight int32 lanes.
#pragma once
#include <immintrin.h>

#include "tile.h"

namespace cvm {
namespace {

struct Vector256 {
  static constexpr int L = 8;
  using I = __m256i;
  static I load(const int32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static void store(int32_t* p, I x) { _mm256_storeu_si256((__m256i*)p, x); }
  static I set1(int32_t x) { return _mm256_set1_epi32(x); }
  static I add(I a, I b) { return _mm256_add_epi32(a, b); }
  static I mul(I a, I b) { return _mm256_mullo_epi32(a, b); }
  static I min(I a, I b) { return _mm256_min_epi32(a, b); }
  static I max(I a, I b) { return _mm256_max_epi32(a, b); }
  static I sar(I a, int32_t s) { return _mm256_sra_epi32(a, _mm_cvtsi32_si128(s)); }
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
    lookup_tile(index, pixels, lanes, valid, sink);
  }
  static void keep(I& x) { asm volatile("" : "+x"(x)); }
};

}  // namespace
}  // namespace cvm
