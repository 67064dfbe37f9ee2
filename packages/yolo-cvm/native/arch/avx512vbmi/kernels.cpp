// AVX-512 with VNNI and VBMI: as avx512vnni, and bytes are permuted where that reproduces a table.
#include "../kernels.h"
#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__) && defined(__AVX512BW__) && \
    defined(__AVX512VL__) && defined(__AVX512DQ__)
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

// Sixty-four indices at a time: those of the first register become the even bytes of the result,
// those of the second the odd ones, and a permutation at the end brings them into order.
template <int T>
void straight_pieces(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
                     const ByteSink& sink) {
  const BlockPieces& b = *sink.pieces;
  const bool wide = lanes == 32;
  const __m256i which = wide ? _mm256_loadu_si256((const __m256i*)b.lanes)
                             : _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)b.lanes));
  const __m512i words = _mm512_cvtepu8_epi16(which);
  const __m512i both = _mm512_or_si512(words, _mm512_slli_epi16(words, 8));
  __mmask64 mine[T];
  for (int t = 1; t < T; ++t) mine[t] = _mm512_cmpeq_epi8_mask(both, _mm512_set1_epi8((char)t));
  const __m512i bits = _mm512_set1_epi16((int16_t)b.bits);
  const __m512i rest = _mm512_set1_epi16((int16_t)(8 - b.bits));
  const __m512i inside = _mm512_set1_epi16((int16_t)((1 << b.bits) - 1));
  const __m512i low_bytes = _mm512_set1_epi16(0xff), high_bytes = _mm512_set1_epi16((int16_t)0xff00);
  const __m512i slopes = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)b.slopes));
  alignas(64) static const uint8_t kOrder[64] = {
      0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42,
      44, 46, 48, 50, 52, 54, 56, 58, 60, 62, 1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23,
      25, 27, 29, 31, 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  const __m512i order = _mm512_load_si512(kOrder);
  const int64_t step = wide ? 2 : 4;  // pixels
  const __mmask32 exist = (__mmask32)(((uint64_t)1 << valid) - 1);
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
    __m512i bytes =
        _mm512_ternarylogic_epi32(_mm512_srli_epi16(even_sum, 8), odd_sum, high_bytes, 0xf8);
    bytes = _mm512_xor_si512(bytes, _mm512_set1_epi8((char)0x80));
    bytes = _mm512_permutexvar_epi8(order, bytes);
    const __m256i first = _mm512_castsi512_si256(bytes);
    const __m256i second = _mm512_extracti64x4_epi64(bytes, 1);
    if (wide) {
      _mm256_mask_storeu_epi8(out, exist, first);
      if (m + 1 < pixels) _mm256_mask_storeu_epi8(out + sink.pixel_stride, exist, second);
      continue;
    }
    const __mmask16 some = (__mmask16)exist;
    _mm_mask_storeu_epi8(out, some, _mm256_castsi256_si128(first));
    if (m + 1 < pixels)
      _mm_mask_storeu_epi8(out + sink.pixel_stride, some, _mm256_extracti128_si256(first, 1));
    if (m + 2 < pixels)
      _mm_mask_storeu_epi8(out + 2 * sink.pixel_stride, some, _mm256_castsi256_si128(second));
    if (m + 3 < pixels)
      _mm_mask_storeu_epi8(out + 3 * sink.pixel_stride, some, _mm256_extracti128_si256(second, 1));
  }
}

void gathered(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
              const ByteSink& sink) {
  const __m512i zero = _mm512_setzero_si512();
  for (int64_t m = 0; m < pixels; ++m, index += lanes)
    for (int64_t l = 0; l < valid; l += Avx512::L) {
      const __m512i first = sink.first ? Avx512::load(sink.first + l) : zero;
      Avx512::gather_bytes(sink.base + m * sink.pixel_stride + l, sink.table->bytes,
                           Avx512::add(Avx512::index(index + l), first), valid - l);
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

Kernels with_pieces() {
  Kernels k = *kernels_avx512vnni();
  k.name = "avx512vbmi";
  k.lookup = look_up;
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
