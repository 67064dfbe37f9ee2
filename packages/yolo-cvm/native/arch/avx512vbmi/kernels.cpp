// AVX-512 with VNNI, VBMI and BITALG: as avx512vnni, and bytes are permuted where that reproduces a
// table.
#include "../kernels.h"
#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__) && defined(__AVX512BW__) && \
    defined(__AVX512VL__) && defined(__AVX512DQ__) && defined(__AVX512BITALG__)
#include "../vector512.h"

namespace cvm {
namespace {

// 256 bytes in four registers.
struct Bytes256 {
  __m512i part[4];
  explicit Bytes256(const void* p) {
    for (int i = 0; i < 4; ++i) part[i] = _mm512_load_si512((const char*)p + 64 * i);
  }
  // upper: the bytes of `which` from 128 on
  __m512i at(__m512i which, __mmask64 upper) const {
    const __m512i low = _mm512_permutex2var_epi8(part[0], which, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], which, part[3]);
    return _mm512_mask_mov_epi8(low, upper, high);
  }
};

// Sixty-four bytes to the `left` pixels of 32 or 16 lanes that are to be written yet, `valid` of them
// to each.
inline void store_pixels(uint8_t* out, int64_t stride, int64_t lanes, int64_t valid, int64_t left,
                         __m512i bytes) {
  const __m256i first = _mm512_castsi512_si256(bytes), second = _mm512_extracti64x4_epi64(bytes, 1);
  if (lanes == 32) {
    if (valid == 32) {
      _mm256_storeu_si256((__m256i*)out, first);
      if (left > 1) _mm256_storeu_si256((__m256i*)(out + stride), second);
      return;
    }
    const __mmask32 exist = (__mmask32)(((uint32_t)1 << valid) - 1);
    _mm256_mask_storeu_epi8(out, exist, first);
    if (left > 1) _mm256_mask_storeu_epi8(out + stride, exist, second);
    return;
  }
  const __m128i pixel[4] = {_mm256_castsi256_si128(first), _mm256_extracti128_si256(first, 1),
                            _mm256_castsi256_si128(second), _mm256_extracti128_si256(second, 1)};
  const __mmask16 exist = (__mmask16)(((uint32_t)1 << valid) - 1);
  for (int64_t i = 0; i < 4 && i < left; ++i, out += stride) {
    if (valid == 16) {
      _mm_storeu_si128((__m128i*)out, pixel[i]);
    } else {
      _mm_mask_storeu_epi8(out, exist, pixel[i]);
    }
  }
}

// Sixty-four indices at a time: those of the first register become the even bytes of the result,
// those of the second the odd ones, and a permutation at the end brings them into order.
template <int T>
void straight_pieces(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
                     const ByteSink& sink) {
  const BlockPieces& b = *sink.pieces;
  const bool wide = lanes == 32;
  const __m256i which = wide ? _mm256_loadu_si256((const __m256i*)b.lanes)
                             : _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)b.lanes));
  const __m512i words = Avx512::packed(_mm512_cvtepu8_epi16(which));
  const __m512i both = _mm512_or_si512(words, _mm512_slli_epi16(words, 8));
  __mmask64 mine[T];
  for (int t = 1; t < T; ++t) mine[t] = _mm512_cmpeq_epi8_mask(both, _mm512_set1_epi8((char)t));
  const __m512i bits = _mm512_set1_epi16((int16_t)b.bits);
  const __m512i rest = _mm512_set1_epi16((int16_t)(8 - b.bits));
  const __m512i inside = _mm512_set1_epi16((int16_t)((1 << b.bits) - 1));
  const __m512i low_bytes = _mm512_set1_epi16(0xff), high_bytes = _mm512_set1_epi16((int16_t)0xff00);
  const __m512i slopes = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)b.slopes));
  // the upper bytes of two registers of words, in the order of pixels and channels
  alignas(64) static const uint8_t kOrder[64] = {
      1, 3, 5, 7, 17, 19, 21, 23, 33, 35, 37, 39, 49, 51, 53, 55, 9, 11, 13, 15, 25, 27, 29, 31,
      41, 43, 45, 47, 57, 59, 61, 63, 65, 67, 69, 71, 81, 83, 85, 87, 97, 99, 101, 103, 113, 115,
      117, 119, 73, 75, 77, 79, 89, 91, 93, 95, 105, 107, 109, 111, 121, 123, 125, 127};
  const __m512i order = _mm512_load_si512(kOrder);
  const int64_t step = wide ? 2 : 4;  // pixels
  uint8_t* out = sink.base;
  for (int64_t m = 0; m < pixels; m += step, index += 64, out += step * sink.pixel_stride) {
    const __m512i even = _mm512_load_si512(index), odd = _mm512_load_si512(index + 32);
    // the piece: even >> bits | (odd << (8 - bits) & 0xff00)
    const __m512i piece = _mm512_ternarylogic_epi32(
        _mm512_srlv_epi16(even, bits), _mm512_sllv_epi16(odd, rest), high_bytes, 0xf8);
    const __mmask64 upper = _mm512_movepi8_mask(piece);
    __m512i value = Bytes256(b.of[0]->value).at(piece, upper);
    __m512i code = Bytes256(b.of[0]->code).at(piece, upper);
    for (int t = 1; t < T; ++t) {
      value = _mm512_mask_mov_epi8(value, mine[t], Bytes256(b.of[t]->value).at(piece, upper));
      code = _mm512_mask_mov_epi8(code, mine[t], Bytes256(b.of[t]->code).at(piece, upper));
    }
    const __m512i slope =
        _mm512_shuffle_epi8(slopes, _mm512_and_si512(code, _mm512_set1_epi8(15)));
    const __m512i even_part = _mm512_and_si512(even, inside);
    const __m512i odd_part = _mm512_slli_epi16(_mm512_and_si512(odd, inside), 8);
    // 256 * value + code, of the even bytes: code & 0xff | value << 8
    const __m512i even_base =
        _mm512_ternarylogic_epi32(_mm512_slli_epi16(value, 8), code, low_bytes, 0xf8);
    const __m512i odd_base =
        _mm512_ternarylogic_epi32(_mm512_srli_epi16(code, 8), value, high_bytes, 0xf8);
    const __m512i even_sum = _mm512_adds_epi16(even_base, _mm512_maddubs_epi16(even_part, slope));
    const __m512i odd_sum = _mm512_adds_epi16(odd_base, _mm512_maddubs_epi16(odd_part, slope));
    const __m512i bytes = _mm512_permutex2var_epi8(even_sum, order, odd_sum);
    store_pixels(out, sink.pixel_stride, lanes, valid, pixels - m,
                 _mm512_xor_si512(bytes, _mm512_set1_epi8((char)0x80)));
  }
}

void gathered(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
              const ByteSink& sink) {
  const __m512i zero = _mm512_setzero_si512();
  alignas(64) uint16_t ordered[32];
  for (int64_t m = 0; m < pixels; ++m) {
    const int64_t at = m * lanes % 32;
    if (at == 0) _mm512_store_si512(ordered, Avx512::natural(_mm512_load_si512(index + m * lanes)));
    for (int64_t l = 0; l < valid; l += Avx512::L) {
      const __m512i first = sink.first ? Avx512::load(sink.first + l) : zero;
      Avx512::gather_bytes(sink.base + m * sink.pixel_stride + l, sink.table->bytes,
                           Avx512::add(Avx512::index(ordered + at + l), first), valid - l);
    }
  }
}

void look_up(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
             const ByteSink& sink) {
  switch (sink.pieces->count) {
    case 1: return straight_pieces<1>(index, pixels, lanes, valid, sink);
    case 2: return straight_pieces<2>(index, pixels, lanes, valid, sink);
    case 3: return straight_pieces<3>(index, pixels, lanes, valid, sink);
    case 4: return straight_pieces<4>(index, pixels, lanes, valid, sink);
    case 5: return straight_pieces<5>(index, pixels, lanes, valid, sink);
    case 6: return straight_pieces<6>(index, pixels, lanes, valid, sink);
    default: return gathered(index, pixels, lanes, valid, sink);
  }
}

// Sixty-four words, those of each half of the indices in a register of their own.
struct Words64 {
  __m512i half[2];
};

Words64 words_of(const WordPieces& pieces, const uint16_t* index) {
  const __m512i bits = _mm512_set1_epi16((int16_t)pieces.bits);
  const __m512i rest = _mm512_set1_epi16((int16_t)(8 - pieces.bits));
  const __m512i inside = _mm512_set1_epi16((int16_t)((1 << pieces.bits) - 1));
  const __m512i low_bytes = _mm512_set1_epi16(0xff), high_bytes = _mm512_set1_epi16((int16_t)0xff00);
  const __m512i even = _mm512_load_si512(index), odd = _mm512_load_si512(index + 32);
  const __m512i piece = _mm512_ternarylogic_epi32(
      _mm512_srlv_epi16(even, bits), _mm512_sllv_epi16(odd, rest), high_bytes, 0xf8);
  const __mmask64 upper = _mm512_movepi8_mask(piece);
  // the words whose halves these are, of the even bytes and of the odd ones
  const auto even_words = [&](__m512i low, __m512i high) {
    return _mm512_ternarylogic_epi32(_mm512_slli_epi16(high, 8), low, low_bytes, 0xf8);
  };
  const auto odd_words = [&](__m512i low, __m512i high) {
    return _mm512_ternarylogic_epi32(_mm512_srli_epi16(low, 8), high, high_bytes, 0xf8);
  };
  const __m512i first_low = Bytes256(pieces.first_low).at(piece, upper);
  const __m512i first_high = Bytes256(pieces.first_high).at(piece, upper);
  const __m512i rises_low = Bytes256(pieces.rises_low).at(piece, upper);
  const __m512i rises_high = Bytes256(pieces.rises_high).at(piece, upper);
  const __m512i tilt = Bytes256(pieces.tilt).at(piece, upper);
  const auto sum = [&](__m512i first, __m512i rises, __m512i i, __m512i part) {
    const __m512i left = _mm512_sllv_epi16(rises, _mm512_andnot_si512(i, inside));
    const __m512i flat = _mm512_add_epi16(first, _mm512_popcnt_epi16(left));
    return Avx512::natural(_mm512_add_epi16(flat, _mm512_maddubs_epi16(part, tilt)));
  };
  const __m512i even_part = _mm512_and_si512(even, inside);
  const __m512i odd_part = _mm512_slli_epi16(_mm512_and_si512(odd, inside), 8);
  return {{sum(even_words(first_low, first_high), even_words(rises_low, rises_high), even, even_part),
           sum(odd_words(first_low, first_high), odd_words(rises_low, rises_high), odd, odd_part)}};
}

// A register of 32 words in memory: one pixel of 32 lanes, or two of 16 whose second may be missing.
template <bool kWide>
__m512i load_words(const int16_t* at, int64_t stride, __mmask32 exist, bool second) {
  if (kWide) return _mm512_maskz_loadu_epi16(exist, at);
  const __m256i low = _mm256_maskz_loadu_epi16((__mmask16)exist, at);
  const __m256i high =
      second ? _mm256_maskz_loadu_epi16((__mmask16)exist, at + stride) : _mm256_setzero_si256();
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
template <bool kWide>
void store_words(int16_t* at, int64_t stride, __mmask32 exist, bool second, __m512i words) {
  if (kWide) return _mm512_mask_storeu_epi16(at, exist, words);
  _mm256_mask_storeu_epi16(at, (__mmask16)exist, _mm512_castsi512_si256(words));
  if (second)
    _mm256_mask_storeu_epi16(at + stride, (__mmask16)exist, _mm512_extracti64x4_epi64(words, 1));
}

// The requantization of sums of two words: constants in the order in which words are interleaved.
struct WordRequantizer {
  __m512i mul[2], rounding[2], lo, hi;
  int32_t shift;
  WordRequantizer(const Requant& q, bool wide) : shift(q.shift) {
    const auto both = [wide](const int32_t* of, int half) {
      const __m512i first = Avx512::load(of), second = wide ? Avx512::load(of + 16) : first;
      const __m512i order = _mm512_set_epi32(27, 26, 25, 24, 19, 18, 17, 16, 11, 10, 9, 8, 3, 2, 1, 0);
      const __m512i at = _mm512_add_epi32(order, _mm512_set1_epi32(4 * half));
      return _mm512_permutex2var_epi32(first, at, second);
    };
    for (int half = 0; half < 2; ++half) {
      const __m512i m = both(q.mul, half);
      mul[half] = _mm512_or_si512(_mm512_and_si512(m, _mm512_set1_epi32(0xffff)),
                                  _mm512_slli_epi32(m, 16));
      rounding[half] = both(q.rounding, half);
    }
    lo = _mm512_set1_epi16((int16_t)q.lo), hi = _mm512_set1_epi16((int16_t)q.hi);
  }
  __m512i operator()(__m512i a, __m512i b) const {
    const auto part = [this](__m512i pairs, int half) {
      return Avx512::sar(_mm512_add_epi32(_mm512_madd_epi16(pairs, mul[half]), rounding[half]), shift);
    };
    const __m512i words = _mm512_packs_epi32(part(_mm512_unpacklo_epi16(a, b), 0),
                                             part(_mm512_unpackhi_epi16(a, b), 1));
    return _mm512_min_epi16(_mm512_max_epi16(words, lo), hi);
  }
};

// Two registers of words as bytes, in the order of pixels and channels.
__m512i bytes_of(const __m512i* words) {
  const __m512i order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
  const __m512i packed = _mm512_xor_si512(_mm512_packs_epi16(words[0], words[1]),
                                          _mm512_set1_epi8((char)0x80));
  return _mm512_permutexvar_epi64(order, packed);
}

template <bool kWide>
void look_up_lanes(const uint16_t* index, int64_t pixels, int64_t valid, const WordSink& s) {
  constexpr int64_t kEach = kWide ? 1 : 2;  // pixels of a register
  const __mmask32 exist = (__mmask32)(((uint64_t)1 << valid) - 1);
  const WordSink sink = s;
  Requant none;
  memset(&none, 0, sizeof none);
  alignas(64) static const int32_t kZeros[32] = {};
  none.mul = none.rounding = kZeros;
  const WordRequantizer requantize(sink.bytes ? sink.requant : none, kWide);
  for (int64_t m = 0; m < pixels; m += 2 * kEach, index += 64) {
    Words64 words = words_of(*sink.pieces, index);
    __m512i narrow[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (int64_t i = 0; i < 2 && m + i * kEach < pixels; ++i) {
      const int64_t at = m + i * kEach;
      const bool second = at + 1 < pixels;
      __m512i sum = words.half[i];
      if (sink.added) {
        const __m512i added = load_words<kWide>(sink.added + at * sink.added_stride,
                                                sink.added_stride, exist, second);
        if (sink.bytes) narrow[i] = requantize(sum, added);
        sum = _mm512_add_epi16(sum, added);
      }
      if (sink.words)
        store_words<kWide>(sink.words + at * sink.words_stride, sink.words_stride, exist, second,
                           sum);
    }
    if (sink.bytes)
      store_pixels(sink.bytes + m * sink.bytes_stride, sink.bytes_stride, kWide ? 32 : 16, valid,
                   pixels - m, bytes_of(narrow));
  }
}

void look_up_words(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
                   const WordSink& sink) {
  if (lanes == 32) return look_up_lanes<true>(index, pixels, valid, sink);
  look_up_lanes<false>(index, pixels, valid, sink);
}

Kernels with_pieces() {
  Kernels k = *kernels_avx512vnni();
  k.name = "avx512vbmi";
  k.lookup = look_up;
  k.lookup_words = look_up_words;
  return k;
}

}  // namespace

const Kernels* kernels_avx512vbmi() {
  static const Kernels k = with_pieces();
  return &k;
}

}  // namespace cvm
#else
namespace cvm {
const Kernels* kernels_avx512vbmi() { return nullptr; }
}  // namespace cvm
#endif
