// Planes of int32 values to bytes with channels innermost, as a network's input is stored. What a
// vector type offers stands in tile.h.
#pragma once
#include <stdint.h>
#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

#include "kernels.h"
#include "loops.h"

namespace cvm {
namespace {

#if defined(__SSE4_1__)
// Sixteen values that fit the stored bytes, as these.
template <class V>
inline __m128i sixteen_bytes(const int32_t* p) {
  alignas(16) uint8_t bytes[16];
  for (int l = 0; l < 16; l += V::L) V::narrow(V::add(V::load(p + l), V::set1(V::offset)), bytes + l);
  return _mm_load_si128((const __m128i*)bytes);
}
// Which element of channel c byte i of part q of sixteen pixels of three channels is; -1: none.
struct Thirds {
  int8_t at[3][3][16];
  constexpr Thirds() : at() {
    for (int q = 0; q < 3; ++q)
      for (int c = 0; c < 3; ++c)
        for (int i = 0; i < 16; ++i)
          at[q][c][i] = (int8_t)((16 * q + i) % 3 == c ? (16 * q + i) / 3 : -1);
  }
};
template <class V>
inline void interleave_16(uint8_t* out, const int32_t* r, const int32_t* g, const int32_t* b) {
  static constexpr Thirds kThirds;
  const __m128i of[3] = {sixteen_bytes<V>(r), sixteen_bytes<V>(g), sixteen_bytes<V>(b)};
  for (int q = 0; q < 3; ++q) {
    __m128i bytes = _mm_setzero_si128();
    for (int c = 0; c < 3; ++c) {
      const __m128i order = _mm_loadu_si128((const __m128i*)kThirds.at[q][c]);
      bytes = _mm_or_si128(bytes, _mm_shuffle_epi8(of[c], order));
    }
    _mm_storeu_si128((__m128i*)(out + 16 * q), bytes);
  }
}
#endif

template <class V>
void interleave(uint8_t* out, int64_t pixel_stride, const int32_t* planes, int64_t plane_stride,
                int64_t channels, int64_t pixels) {
  if (channels == 3) {
    const int32_t *r = planes, *g = planes + plane_stride, *b = planes + 2 * plane_stride;
    int64_t x = 0;
#if defined(__SSE4_1__)
    if (pixel_stride == 3)
      for (; x + 16 <= pixels; x += 16, out += 48) interleave_16<V>(out, r + x, g + x, b + x);
#endif
    for (; x < pixels; ++x, out += pixel_stride) {
      out[0] = (uint8_t)wrap_add(r[x], V::offset);
      out[1] = (uint8_t)wrap_add(g[x], V::offset);
      out[2] = (uint8_t)wrap_add(b[x], V::offset);
    }
    return;
  }
  for (int64_t c = 0; c < channels; ++c) {
    const int32_t* s = planes + c * plane_stride;
    for (int64_t x = 0; x < pixels; ++x)
      out[x * pixel_stride + c] = (uint8_t)wrap_add(s[x], V::offset);
  }
}

}  // namespace
}  // namespace cvm
