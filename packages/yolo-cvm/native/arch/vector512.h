// What the sets of AVX-512 share: 512-bit registers of sixteen int32 lanes, bytes stored with an
// offset of 128.
#pragma once
#include <immintrin.h>

#include "winograd.h"

namespace cvm {
namespace {

struct Avx512 {
  static constexpr bool gathers = true;
  static constexpr bool packs = true;
  static constexpr bool masks = true;
  static constexpr int L = 16;
  static constexpr int32_t offset = 128;
  using I = __m512i;
  using W = __m512i;
  using A = __m512i;
  static I load(const int32_t* p) { return _mm512_loadu_si512(p); }
  static void store(int32_t* p, I x) { _mm512_storeu_si512(p, x); }
  static I set1(int32_t x) { return _mm512_set1_epi32(x); }
  static I add(I a, I b) { return _mm512_add_epi32(a, b); }
  static I widen(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
  }
  static I widen(const int8_t* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p));
  }
  static I widen(const int16_t* p) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i*)p));
  }
  static I widen(const int32_t* p) { return load(p); }
  // The first `count` lanes, fewer than there are; the others are 0, or stay as they were.
  static __mmask16 first(int64_t count) { return (__mmask16)((1u << count) - 1); }
  static I widen_part(const uint8_t* p, int64_t count) {
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first(count), p));
  }
  static I widen_part(const int8_t* p, int64_t count) {
    return _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first(count), p));
  }
  static I widen_part(const int16_t* p, int64_t count) {
    return _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(first(count), p));
  }
  static I widen_part(const int32_t* p, int64_t count) {
    return _mm512_maskz_loadu_epi32(first(count), p);
  }
  static void narrow_part(I x, uint8_t* p, int64_t count) {
    _mm512_mask_cvtepi32_storeu_epi8(p, first(count), x);
  }
  static void narrow_part(I x, int16_t* p, int64_t count) {
    _mm512_mask_cvtepi32_storeu_epi16(p, first(count), x);
  }
  static void narrow_part(I x, int32_t* p, int64_t count) {
    _mm512_mask_storeu_epi32(p, first(count), x);
  }
  static I signed_halves(const void* p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)p));
  }
  static I unsigned_halves(const void* p) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i*)p));
  }
  static void narrow(I x, uint8_t* p) { _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(x)); }
  static void narrow(I x, int16_t* p) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(x));
  }
  static void narrow(I x, int32_t* p) { store(p, x); }
  // Keeps the compiler from reasoning about the value, and in a register.
  template <class T>
  static void pin(T& x) {
    asm volatile("" : "+v"(x));
  }
  static I sub(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I gather(const int32_t* p, I x) { return _mm512_i32gather_epi32(x, p, 4); }
  static I mul(I a, I b) { return _mm512_mullo_epi32(a, b); }
  static I min(I a, I b) { return _mm512_min_epi32(a, b); }
  static I max(I a, I b) { return _mm512_max_epi32(a, b); }
  // A count for every lane: one instruction where a count for all takes two.
  static I sar(I a, int32_t s) { return _mm512_srav_epi32(a, set1(s)); }
  static I bit(I a, int32_t s) { return _mm512_and_si512(sar(a, s), set1(1)); }
  static W weights(const int8_t* p) { return _mm512_loadu_si512(p); }
  static A broadcast(const uint8_t* p) {
    int32_t x;
    memcpy(&x, p, 4);
    return _mm512_set1_epi32(x);
  }
  static I dot(I acc, A a, W w) { return _mm512_dpbusd_epi32(acc, a, w); }

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

  template <int N>
  static void lookup_store(uint8_t* out, const I* x, const Table* table, int64_t valid) {
    if (table) {
      lookup_store_plain<Avx512, N>(out, x, table, valid);
      return;
    }
    I shifted[N];
    for (int n = 0; n < N; ++n) shifted[n] = add(x[n], set1(offset));
    store_bytes<N>(out, shifted, valid);
  }

  static I index(const int32_t* p) { return load(p); }
  static I index(const uint16_t* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  }
  // out[l] = table[x[l]] for the first `count` lanes; three bytes behind the table are read.
  static void gather_bytes(uint8_t* out, const uint8_t* table, I x, int64_t count) {
    if (count >= L) {
      const I words = _mm512_i32gather_epi32(x, table, 1);
      _mm_storeu_si128((__m128i*)out, _mm512_cvtepi32_epi8(words));
      return;
    }
    const __mmask16 exist = (__mmask16)((1u << count) - 1);
    const I words = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), exist, x, table, 1);
    _mm512_mask_cvtepi32_storeu_epi8(out, exist, words);
  }

  static void store_index(uint16_t* p, I x) {
    _mm256_store_si256((__m256i*)p, _mm512_cvtepi32_epi16(x));
  }

  // Two registers as words: below 0 becomes 0, above `most`, which is below 2^15, becomes `most`.
  // Four of the first stand before four of the second, as they are packed: see natural.
  static void store_clamped(uint16_t* p, I a, I b, int32_t most) {
    const I words = _mm512_packus_epi32(a, b);
    _mm512_store_si512(p, _mm512_min_epu16(words, _mm512_set1_epi16((int16_t)most)));
  }
  // Words that were stored so, with all of the first register before all of the second.
  static I natural(I words) {
    return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), words);
  }
  static I packed(I words) {
    return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0), words);
  }

  // A table of 128 words in four registers, indexed by seven bits.
  struct Words128 {
    __m512i part[4];
    explicit Words128(const void* p) {
      for (int i = 0; i < 4; ++i) part[i] = _mm512_loadu_si512((const char*)p + 64 * i);
    }
    __m512i at(__m512i which, __mmask32 upper) const {
      const __m512i low = _mm512_permutex2var_epi16(part[0], which, part[1]);
      const __m512i high = _mm512_permutex2var_epi16(part[2], which, part[3]);
      return _mm512_mask_mov_epi16(low, upper, high);
    }
  };

  static void lookup(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
                     const ByteSink& sink) {
    const Segments& s = *sink.table->segments;
    if (!s.usable) {
      lookup_tile<Avx512>(index, pixels, lanes, valid, sink);
      return;
    }
    const Words128 base(s.base), slope(s.slope);
    const __m128i bits = _mm_cvtsi32_si128(s.bits), rest = _mm_cvtsi32_si128(16 - s.bits);
    const __m512i top = _mm512_set1_epi16((int16_t)s.top);
    const int64_t pixels_per_row = 32 / lanes;
    uint8_t* out = sink.base;
    for (int64_t m = 0; m < pixels; m += pixels_per_row, index += 32) {
      const __m512i i = _mm512_load_si512(index);
      const __m512i which = _mm512_srl_epi16(i, bits);
      // the part, with its highest bit just below the sign
      const __m512i part = _mm512_srli_epi16(_mm512_sll_epi16(i, rest), 1);
      const __mmask32 upper = _mm512_test_epi16_mask(which, _mm512_set1_epi16(64));
      const __m512i rise = _mm512_mulhi_epi16(slope.at(which, upper), part);
      const __m512i value = _mm512_min_epu16(
          _mm512_srli_epi16(_mm512_add_epi16(base.at(which, upper), rise), 8), top);
      const __m256i bytes = _mm512_cvtepi16_epi8(value);
      if (lanes == 32) {
        if (valid == 32) {
          _mm256_storeu_si256((__m256i*)out, bytes);
        } else {
          _mm256_mask_storeu_epi8(out, (__mmask32)((1u << valid) - 1), bytes);
        }
      } else {
        const __mmask16 exist = (__mmask16)((1u << valid) - 1);
        _mm_mask_storeu_epi8(out, exist, _mm256_castsi256_si128(bytes));
        if (m + 1 < pixels)
          _mm_mask_storeu_epi8(out + sink.pixel_stride, exist, _mm256_extracti128_si256(bytes, 1));
      }
      out += pixels_per_row * sink.pixel_stride;
    }
  }
};

}  // namespace
}  // namespace cvm
