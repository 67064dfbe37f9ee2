// AVX-512 with VNNI: 64 products per instruction, bytes stored with an offset of 128.
#include "../kernels.h"
#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && \
    defined(__AVX512DQ__)
#include <immintrin.h>

#include "../tile.h"

namespace cvm {
namespace {

struct Avx512 {
  static constexpr int L = 16;
  static constexpr int32_t offset = 128;
  using I = __m512i;
  using W = __m512i;
  using A = __m512i;
  static I load(const int32_t* p) { return _mm512_loadu_si512(p); }
  static void store(int32_t* p, I x) { _mm512_storeu_si512(p, x); }
  static I set1(int32_t x) { return _mm512_set1_epi32(x); }
  static I add(I a, I b) { return _mm512_add_epi32(a, b); }
  static I mul(I a, I b) { return _mm512_mullo_epi32(a, b); }
  static I min(I a, I b) { return _mm512_min_epi32(a, b); }
  static I max(I a, I b) { return _mm512_max_epi32(a, b); }
  static I sar(I a, int32_t s) { return _mm512_sra_epi32(a, _mm_cvtsi32_si128(s)); }
  static I bit(I a, int32_t s) { return _mm512_and_si512(sar(a, s), set1(1)); }
  static W weights(const int8_t* p) { return _mm512_loadu_si512(p); }
  static A broadcast(const uint8_t* p) {
    int32_t x;
    memcpy(&x, p, 4);
    return _mm512_set1_epi32(x);
  }
  static I dot(I acc, A a, W w) { return _mm512_dpbusd_epi32(acc, a, w); }
  static void keep(I& x) { asm volatile("" : "+v"(x)); }

  // Bytes of N registers, in channel order.
  template <int N>
  static void store_bytes(uint8_t* out, const I* x, int64_t valid) {
    for (int n = 0; n < N; ++n) {
      const int64_t left = valid - n * L;
      if (left >= L) {
        _mm_storeu_si128((__m128i*)(out + n * L), _mm512_cvtepi32_epi8(x[n]));
      } else if (left > 0) {
        _mm512_mask_cvtepi32_storeu_epi8(out + n * L, (__mmask16)((1u << left) - 1), x[n]);
      }
    }
  }

  // Sixteen-bit lanes hold the index; a piece's slope and base come from two registers each.
  static __m512i pieces(__m512i index, const Segments& s) {
    const __m128i bits = _mm_cvtsi32_si128(s.bits);
    const __m512i which = _mm512_srl_epi16(index, bits);
    const __m512i part = _mm512_and_si512(index, _mm512_set1_epi16((int16_t)((1 << s.bits) - 1)));
    const __m512i slope = _mm512_permutex2var_epi16(_mm512_loadu_si512(s.slope), which,
                                                    _mm512_loadu_si512(s.slope + 32));
    const __m512i base = _mm512_permutex2var_epi16(_mm512_loadu_si512(s.base), which,
                                                   _mm512_loadu_si512(s.base + 32));
    return _mm512_srli_epi16(_mm512_add_epi16(base, _mm512_mullo_epi16(slope, part)), 8);
  }

  template <int N>
  static void lookup_store(uint8_t* out, const I* x, const Table* table, int64_t valid) {
    if (!table) {
      I shifted[N];
      for (int n = 0; n < N; ++n) shifted[n] = add(x[n], set1(offset));
      store_bytes<N>(out, shifted, valid);
      return;
    }
    if (!table->segments->usable) {
      lookup_store_plain<Avx512, N>(out, x, table, valid);
      return;
    }
    // Index clamped in 32 bits first, as the operator demands; then two registers become one.
    const I last = set1((int32_t)table->count - 1), zero = set1(0);
    if (N == 2) {
      const __m256i low = _mm512_cvtepi32_epi16(min(max(x[0], zero), last));
      const __m256i high = _mm512_cvtepi32_epi16(min(max(x[N - 1], zero), last));
      const __m512i value = pieces(
          _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1), *table->segments);
      if (valid >= 32) {
        _mm256_storeu_si256((__m256i*)out, _mm512_cvtepi16_epi8(value));
      } else {
        _mm512_mask_cvtepi16_storeu_epi8(out, (__mmask32)((1u << valid) - 1), value);
      }
    } else {
      const __m256i low = _mm512_cvtepi32_epi16(min(max(x[0], zero), last));
      const __m512i value = pieces(_mm512_castsi256_si512(low), *table->segments);
      const __m128i bytes = _mm256_castsi256_si128(_mm512_cvtepi16_epi8(value));
      if (valid >= 16) {
        _mm_storeu_si128((__m128i*)out, bytes);
      } else {
        _mm_mask_storeu_epi8(out, (__mmask16)((1u << valid) - 1), bytes);
      }
    }
  }
};

}  // namespace

const Kernels* kernels_avx512vnni() {
  static const Kernels k = make_kernels<Avx512, 24, 14>("avx512vnni");
  return &k;
}

}  // namespace cvm
#else
namespace cvm {
const Kernels* kernels_avx512vnni() { return nullptr; }
}  // namespace cvm
#endif
