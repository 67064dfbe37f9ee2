// AVX-VNNI's two dot products by AVX2, so that a machine without them can run arch/avxvnni.
// Included ahead of its source by emulate.py.
#pragma once
#include <immintrin.h>

#define __AVXVNNI__ 1
#define _mm256_dpbusd_avx_epi32 emulated_dpbusd
#define _mm256_dpwssd_avx_epi32 emulated_dpwssd

static inline __m256i emulated_dpwssd(__m256i sum, __m256i a, __m256i b) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

// Even and odd bytes as 16-bit lanes: their products and sums of pairs fit 32 bits.
static inline __m256i emulated_dpbusd(__m256i sum, __m256i a, __m256i b) {
  const __m256i even_a = _mm256_and_si256(a, _mm256_set1_epi16(0xff));
  const __m256i odd_a = _mm256_srli_epi16(a, 8);
  const __m256i even_b = _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8);
  const __m256i odd_b = _mm256_srai_epi16(b, 8);
  return emulated_dpwssd(emulated_dpwssd(sum, even_a, even_b), odd_a, odd_b);
}
