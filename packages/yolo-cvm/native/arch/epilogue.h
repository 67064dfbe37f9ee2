// From accumulators in registers to bytes in memory: requantization, tables, stores. What a vector
// type offers stands in tile.h.
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

#include "kernels.h"
#include "loops.h"

namespace cvm {
namespace {

// Values in registers stay there only where a call vanishes; compilers shy at functions as large.
#define CVM_INLINE inline __attribute__((always_inline))

// Before code without AVX: processors pay some seventy cycles for registers whose upper halves are in
// use there. Compilers see to it by themselves, GCC 12 not behind calls of functions of this source.
inline void leave_vectors() {
#if defined(__AVX__)
  _mm256_zeroupper();
#endif
}

// The requantization of the registers of one pixel; constants are loaded once per tile.
template <class V, int N>
struct Requantizer {
  using I = typename V::I;
  const Requant& q;
  I clip_lo, clip_hi, lo, hi, mul[N], rounding[N], offset[N];

  CVM_INLINE explicit Requantizer(const Requant& r) : q(r) {
    clip_lo = V::set1(q.clip_lo), clip_hi = V::set1(q.clip_hi);
    lo = V::set1(q.lo), hi = V::set1(q.hi);
    for (int n = 0; n < N; ++n) {
      mul[n] = q.mul ? V::load(q.mul + n * V::L) : V::set1(1);
      rounding[n] = q.carry_free ? V::load(q.rounding + n * V::L) : V::set1(0);
      offset[n] = q.offset ? V::load(q.offset + n * V::L) : V::set1(0);
    }
  }

  // Whether clamp, multiplication, shift are these two, as behind nearly all convolutions.
  bool is_plain() const { return q.mul && q.carry_free; }
  CVM_INLINE I clipped(I x) const { return V::min(V::max(x, clip_lo), clip_hi); }
  CVM_INLINE I multiply_and_shift(I x, int n) const {
    return V::sar(V::add(V::mul(x, mul[n]), rounding[n]), q.shift);
  }
  CVM_INLINE I clamped(I x) const { return V::min(V::max(x, lo), hi); }

  void operator()(I* x) const {
    for (int n = 0; n < N; ++n) {
      I y = x[n];
      if (q.clip) y = clipped(y);
      if (q.mul) y = V::mul(y, mul[n]);
      if (q.carry_free) {
        y = V::sar(V::add(y, rounding[n]), q.shift);
      } else if (q.shift > 31) {
        y = V::set1(0);
      } else if (q.shift) {
        y = V::add(V::sar(y, q.shift), V::bit(y, q.shift - 1));
      }
      y = V::min(V::max(y, lo), hi);
      x[n] = q.offset ? V::add(y, offset[n]) : y;
    }
  }
};

// One lookup per value; indices are within the table.
template <class V, class Index>
inline void lookup_tile(const Index* index, int64_t pixels, int64_t lanes, int64_t valid,
                        const ByteSink& sink) {
  const uint8_t* table = sink.table->bytes;
  if constexpr (V::gathers) {
    for (int64_t m = 0; m < pixels; ++m, index += lanes)
      for (int64_t l = 0; l < valid; l += V::L)
        V::gather_bytes(sink.base + m * sink.pixel_stride + l, table, V::index(index + l),
                        valid - l);
    return;
  }
  for (int64_t m = 0; m < pixels; ++m, index += lanes) {
    uint8_t* out = sink.base + m * sink.pixel_stride;
    int64_t l = 0;
#if defined(__SSE4_1__)
    for (; l + 16 <= valid; l += 16) {
      __m128i bytes = _mm_cvtsi32_si128(table[index[l]]);
#define CVM_BYTE(i) bytes = _mm_insert_epi8(bytes, table[index[l + i]], i);
      CVM_BYTE(1) CVM_BYTE(2) CVM_BYTE(3) CVM_BYTE(4) CVM_BYTE(5) CVM_BYTE(6) CVM_BYTE(7)
      CVM_BYTE(8) CVM_BYTE(9) CVM_BYTE(10) CVM_BYTE(11) CVM_BYTE(12) CVM_BYTE(13) CVM_BYTE(14)
      CVM_BYTE(15)
#undef CVM_BYTE
      _mm_storeu_si128((__m128i*)(out + l), bytes);
    }
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    // Eight bytes per store: the first level cache takes about one store per cycle.
    for (; l + 8 <= valid; l += 8) {
      uint64_t bytes = 0;
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) bytes |= (uint64_t)table[index[l + i]] << (8 * i);
      memcpy(out + l, &bytes, 8);
    }
#endif
    for (; l < valid; ++l) out[l] = table[index[l]];
  }
}

// A byte store, through a table or not, whatever the values are.
template <class V, int N>
inline void lookup_store_plain(uint8_t* out, const typename V::I* x, const Table* table,
                               int64_t valid) {
  int32_t index[N * V::L];
  for (int n = 0; n < N; ++n) V::store(index + n * V::L, x[n]);
  if (!table) {
    for (int64_t i = 0; i < valid; ++i) out[i] = (uint8_t)wrap_add(index[i], V::offset);
    return;
  }
  const int32_t last = (int32_t)table->count - 1;
  for (int64_t i = 0; i < valid; ++i) out[i] = table->bytes[clamp(index[i], 0, last)];
}

// Any requantization, pixel by pixel. One function for all heights of tiles, since it is rare.
template <class V, int N>
__attribute__((noinline)) void requantize_pixels(const Requant& q, typename V::I (*acc)[N],
                                                 int pixels) {
  const Requantizer<V, N> requantize(q);
  for (int m = 0; m < pixels; ++m) requantize(acc[m]);
}

// The clamp before the multiplication.
template <class V, int M, int N>
CVM_INLINE void clip_tile(const Requantizer<V, N>& requantize, typename V::I (&acc)[M][N]) {
  if (!requantize.q.clip) return;
#pragma GCC unroll 24
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) acc[m][n] = requantize.clipped(acc[m][n]);
}

// Requantizes the accumulators of a tile.
template <class V, int M, int N>
CVM_INLINE void requantize_tile(const Requantizer<V, N>& requantize, typename V::I (&acc)[M][N]) {
  if (!requantize.is_plain()) {
    typename V::I copy[M][N];  // so that the accumulators themselves need no address
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) copy[m][n] = acc[m][n];
    requantize_pixels<V, N>(requantize.q, copy, M);
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) acc[m][n] = copy[m][n];
    return;
  }
  clip_tile<V, M, N>(requantize, acc);
#pragma GCC unroll 24
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n)
      acc[m][n] = requantize.clamped(requantize.multiply_and_shift(acc[m][n], n));
  if (!requantize.q.offset) return;
#pragma GCC unroll 24
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) acc[m][n] = V::add(acc[m][n], requantize.offset[n]);
}

// Where the values of a tile go.
template <class V, int M, int N>
CVM_INLINE void finish_tile(const ConvTile& t, const typename V::I (&acc)[M][N]) {
  constexpr int L = V::L;
  if (t.out) {
#pragma GCC unroll 24
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) V::store(t.out + m * t.out_step + n * L, acc[m][n]);
    if (t.sink_count == 0) return;
  }
  if (t.indexed == kLongIndex) {
    alignas(64) int32_t index[M * N * L];
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) V::store(index + (m * N + n) * L, acc[m][n]);
    for (int64_t s = 0; s < t.sink_count; ++s)
      lookup_tile<V>(index, M, N * L, t.valid, t.sinks[s]);
  } else if (t.indexed == kWordIndex) {
    alignas(64) uint16_t index[(M * N * L + 31) / 32 * 32];
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) V::store_index(index + (m * N + n) * L, acc[m][n]);
    for (int64_t s = 0; s < t.sink_count; ++s) V::lookup(index, M, N * L, t.valid, t.sinks[s]);
  } else {
    for (int m = 0; m < M; ++m)
      for (int64_t s = 0; s < t.sink_count; ++s) {
        const ByteSink& sink = t.sinks[s];
        V::template lookup_store<N>(sink.base + m * sink.pixel_stride, acc[m], sink.table,
                                    t.valid);
      }
  }
}

// The same where every lane has its own part of the tables: indices without the addition.
// requantized: whether the accumulators are already.
template <class V, int M, int N>
CVM_INLINE void finish_lanes(const ConvTile& t, typename V::I (&acc)[M][N],
                             const Requantizer<V, N>& requantize, bool requantized) {
  constexpr int L = V::L, count = M * N * L;
  const int32_t most = t.requant->hi;
  alignas(64) uint16_t index[(count + 63) / 64 * 64];
  if (count % 64) memset(index + count / 64 * 64, 0, 128);
  // Two registers at a time: those of one pixel, or of a pixel and the next.
  const auto next = [](int m) { return N == 2 || m + 1 == M ? m : m + 1; };
  if (!requantized) {
    clip_tile<V, M, N>(requantize, acc);
#pragma GCC unroll 24
    for (int m = 0; m < M; m += 2 / N)
      V::store_clamped(index + m * N * L, requantize.multiply_and_shift(acc[m][0], 0),
                       requantize.multiply_and_shift(acc[next(m)][N - 1], N - 1), most);
  } else {
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) {
        if (t.out) V::store(t.out + m * t.out_step + n * L, acc[m][n]);
        if (t.requant->offset) acc[m][n] = V::sub(acc[m][n], requantize.offset[n]);
      }
    for (int m = 0; m < M; m += 2 / N)
      V::store_clamped(index + m * N * L, acc[m][0], acc[next(m)][N - 1], most);
  }
  for (int64_t s = 0; s < t.sink_count; ++s) t.lookup(index, M, N * L, t.valid, t.sinks[s]);
  if (t.words) t.lookup_words(index, M, N * L, t.valid, *t.words);
}

}  // namespace
}  // namespace cvm
