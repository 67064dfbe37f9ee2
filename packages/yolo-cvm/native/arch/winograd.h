// Winograd's F(4x4, 3x3) on integers: the transforms as templates over a vector type, included once
// by every arch/<isa>/kernels.cpp that offers them.
//
// Sixteen outputs of a 3x3 convolution take 36 products per channel instead of 144. The points are
// 0, 1, -1, 2, -2 and infinity. All matrices are scaled to integers, so that the 36 sums are exact
// modulo 2^32; what comes out is 576 = 9 * 64 times the convolution. Nine has an inverse modulo
// 2^32 and 64 is a shift, hence the result is exact wherever the convolution stays below 2^25.
// Bytes become at most 100 * 128 and weights at most 49 * 127, which fits 16 bits.
#pragma once
#include "tile.h"

namespace cvm {
namespace {

constexpr uint32_t kInverseOfNine = 954437177u;
static_assert(9u * kInverseOfNine == 1u, "inverse modulo 2^32");

template <class V>
struct WinogradTransforms {
  // One register, seen as 16-bit or as 32-bit lanes that wrap.
  static constexpr int kHalves = 2 * V::L;
  typedef uint16_t Half __attribute__((vector_size(V::L * 4)));
  typedef uint32_t Word __attribute__((vector_size(V::L * 4)));
  typedef int32_t SignedWord __attribute__((vector_size(V::L * 4)));

  static Half pixels(const uint8_t* p) {
    if (V::offset == 0) return (Half)V::signed_halves(p);
    return (Half)V::unsigned_halves(p) - (uint16_t)V::offset;
  }
  static Word word(const int32_t* p) {
    Word w;
    memcpy(&w, p, sizeof w);
    return w;
  }

  static void input_1d(const Half* d, Half* t) {
    const Half even = d[4] - (d[2] << 2), odd = d[3] - (d[1] << 2);
    const Half even2 = d[4] - d[2], odd2 = (d[3] - d[1]) << 1;
    t[0] = (d[0] << 2) - d[2] + even;
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = even2 + odd2;
    t[4] = even2 - odd2;
    t[5] = (d[1] << 2) - (d[3] << 2) - d[3] + d[5];
  }
  static void weight_1d(const Half* g, Half* t) {
    const Half outer = g[0] + g[2], outer4 = g[0] + (g[2] << 2), inner2 = g[1] << 1;
    t[0] = g[0];
    t[1] = outer + g[1];
    t[2] = outer - g[1];
    t[3] = outer4 + inner2;
    t[4] = outer4 - inner2;
    t[5] = g[2];
  }
  // Results are 24, 12, 6 and 6 times the outputs.
  static void output_1d(const Word* m, Word* y) {
    const Word a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    const Word m0 = m[0] + (m[0] << 1), m5 = m[5] + (m[5] << 1);
    y[0] = (m0 << 1) - (a << 2) + c;
    y[1] = d - (b << 1);
    y[2] = c - a;
    y[3] = (d << 1) - b + (m5 << 1);
  }

  static void input(const uint8_t* base, const int64_t* offsets, int64_t channels, int16_t* out,
                    int64_t step) {
    for (int64_t c = 0; c < channels; c += kHalves) {
      Half half[6][6];
      for (int x = 0; x < 6; ++x) {
        Half d[6], t[6];
        for (int y = 0; y < 6; ++y) d[y] = pixels(base + offsets[y * 6 + x] + c);
        input_1d(d, t);
        for (int y = 0; y < 6; ++y) half[y][x] = t[y];
      }
      for (int y = 0; y < 6; ++y) {
        Half t[6];
        input_1d(half[y], t);
        for (int x = 0; x < 6; ++x) memcpy(out + (y * 6 + x) * step + c, &t[x], sizeof t[x]);
      }
    }
  }

  static void weights(const int8_t* taps, int64_t count, int16_t* out, int64_t step) {
    for (int64_t i = 0; i < count; ++i, taps += 9 * kHalves, out += kHalves) {
      Half half[6][3];
      for (int x = 0; x < 3; ++x) {
        Half g[3], t[6];
        for (int y = 0; y < 3; ++y) g[y] = (Half)V::signed_halves(taps + (y * 3 + x) * kHalves);
        weight_1d(g, t);
        for (int y = 0; y < 6; ++y) half[y][x] = t[y];
      }
      for (int y = 0; y < 6; ++y) {
        Half t[6];
        weight_1d(half[y], t);
        for (int x = 0; x < 6; ++x) memcpy(out + (y * 6 + x) * step, &t[x], sizeof t[x]);
      }
    }
  }

  static void output(const int32_t* sums, int64_t step, const int32_t* bias, int64_t vectors,
                     int32_t* out, int64_t row_step) {
    constexpr int kShift[4] = {3, 2, 1, 1};
    const int64_t lanes = vectors * V::L;
    for (int64_t l = 0; l < lanes; l += V::L) {
      Word half[4][6];
      for (int x = 0; x < 6; ++x) {
        Word m[6], y[4];
        for (int i = 0; i < 6; ++i) m[i] = word(sums + (i * 6 + x) * step + l);
        output_1d(m, y);
        for (int i = 0; i < 4; ++i) half[i][x] = y[i];
      }
      const Word b = word(bias + l);
      for (int i = 0; i < 4; ++i) {
        Word y[4];
        output_1d(half[i], y);
#pragma GCC unroll 4
        for (int x = 0; x < 4; ++x) {
          const SignedWord exact = (SignedWord)(y[x] * kInverseOfNine) >> (kShift[i] + kShift[x]);
          const Word sum = (Word)exact + b;
          memcpy(out + i * row_step + x * lanes + l, &sum, sizeof sum);
        }
      }
    }
  }
};

// Words is V with the dot product of two signed 16-bit pairs per lane.
template <class V, class Words, int M1, int M2>
const Winograd* make_winograd(int32_t least_channels) {
  static const Winograd made = [&] {
    Winograd w;
    memset(&w, 0, sizeof w);
    w.least_channels = least_channels;
    w.max_tiles[1] = M1;
    w.max_tiles[2] = M2;
    Fill<Words, M1, 1>::into(w.multiply);
    Fill<Words, M2, 2>::into(w.multiply);
    w.input = WinogradTransforms<V>::input;
    w.weights = WinogradTransforms<V>::weights;
    w.output = WinogradTransforms<V>::output;
    return w;
  }();
  return &made;
}

}  // namespace
}  // namespace cvm
