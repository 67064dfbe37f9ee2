// Micro-kernels as templates over a vector type; included once by every arch/<isa>/kernels.cpp.
//
// A vector type V offers: I (register), L (int32 lanes), W (packed weights of one register),
// offset, load, store, set1, add, min, max, mul, sar, weights, broadcast, dot, and lookup_store.
// Where it `gathers`, index and gather_bytes look up a register of bytes at once; where it `masks`,
// widen_part and narrow_part move the first lanes of a register alone; where it `packs`,
// store_clamped brings two registers of values into a range and stores them as words.
// All names live in an anonymous namespace, so no two instruction sets share a symbol.
#pragma once
#include <stdint.h>
#include <string.h>

#include "digits.h"
#include "epilogue.h"
#include "interleave.h"
#include "kernels.h"
#include "loops.h"
#include "stream.h"
#include "tile_ops.h"

namespace cvm {
namespace {

template <class V, int M, int N>
void conv_tile(const ConvTile& t) {
  constexpr int L = V::L;
  constexpr int G = (M + 3) / 4;
  typename V::I acc[M][N];
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) acc[m][n] = V::load(t.start + m * t.start_step + n * L);
  const int8_t* w = t.weights;
  const int64_t step = t.step;
  for (int64_t r = 0; r < t.runs; ++r) {
    const uint8_t* p[G];
    for (int g = 0; g < G; ++g) p[g] = t.input + t.offsets[r] + g * 4 * step;
    for (int64_t k = 0; k < t.run_words; ++k) {
      typename V::W weight[N];
      for (int n = 0; n < N; ++n) weight[n] = V::weights(w + n * L * 4);
      w += N * L * 4;
#pragma GCC unroll 24
      for (int m = 0; m < M; ++m) {
        const typename V::A x = V::broadcast(p[m / 4] + (m % 4) * step);
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) acc[m][n] = V::dot(acc[m][n], x, weight[n]);
      }
      for (int g = 0; g < G; ++g) p[g] += 4;
    }
  }
  if (t.requant) {
    const Requantizer<V, N> requantize(*t.requant);
    const bool lanes = V::packs && t.indexed == kLaneIndex;
    const bool later = lanes && !t.out && requantize.is_plain();
    if (!later) requantize_tile<V, M, N>(requantize, acc);
    if constexpr (V::packs) {
      if (lanes) {
        finish_lanes<V, M, N>(t, acc, requantize, !later);
        return leave_vectors();
      }
    }
  }
  finish_tile<V, M, N>(t, acc);
  leave_vectors();
}

// Register-only products; returns the multiply-accumulates done.
template <class V>
int64_t ceiling(int64_t rounds) {
  constexpr int M = V::L == 16 ? 12 : 5;
  int8_t bytes[V::L * 8];
  for (int i = 0; i < V::L * 8; ++i) bytes[i] = (int8_t)(i * 7 + 1);
  typename V::I acc[M][2];
  typename V::W w[2] = {V::weights(bytes), V::weights(bytes + V::L * 4)};
#pragma GCC unroll 24
  for (int m = 0; m < M; ++m) acc[m][0] = acc[m][1] = V::set1(m);
  int32_t word = 0x01020304;
  for (int64_t i = 0; i < rounds; ++i) {
    const typename V::A x = V::broadcast((const uint8_t*)&word);
    word += (int32_t)i;
#pragma GCC unroll 24
    for (int m = 0; m < M; ++m) {
      // weights that might be new, so that no product can be reused
      V::pin(w[0]);
      V::pin(w[1]);
      acc[m][0] = V::dot(acc[m][0], x, w[0]);
      acc[m][1] = V::dot(acc[m][1], x, w[1]);
      V::pin(acc[m][0]);
      V::pin(acc[m][1]);
    }
  }
  int32_t sum[V::L];
  typename V::I all = V::set1(0);
#pragma GCC unroll 24
  for (int m = 0; m < M; ++m) all = V::add(all, V::add(acc[m][0], acc[m][1]));
  V::store(sum, all);
  volatile int32_t sink = sum[0];
  (void)sink;
  return rounds * M * 2 * V::L * 4;
}

// Fills kernels[N][1..M].
template <class V, int M, int N>
struct Fill {
  static void into(ConvKernel (&kernels)[3][kMaxPixels + 1]) {
    kernels[N][M] = conv_tile<V, M, N>;
    Fill<V, M - 1, N>::into(kernels);
  }
};
template <class V, int N>
struct Fill<V, 0, N> {
  static void into(ConvKernel (&)[3][kMaxPixels + 1]) {}
};

template <class V, int M1, int M2>
Kernels make_kernels(const char* name, const Winograd* winograd = nullptr) {
  Kernels k;
  memset(&k, 0, sizeof k);
  k.name = name;
  k.offset = V::offset;
  k.vector_lanes = V::L;
  k.max_vectors = 2;
  k.max_pixels[1] = M1;
  k.max_pixels[2] = M2;
  Fill<V, M1, 1>::into(k.conv);
  Fill<V, M2, 2>::into(k.conv);
  k.tile_code = run_tile_code<V>;
  k.max_pixel = max_pixel<V>;
  k.pool_pixels = pool_pixels<V>;
  k.interleave = interleave<V>;
#if defined(__AVX__)
  k.stream = stream;
  k.settle = settle;
#endif
  fill_loops(k.loops);
  fill_digits(k.digits);
  k.winograd = winograd;
  k.ceiling = ceiling<V>;
  return k;
}

}  // namespace
}  // namespace cvm
