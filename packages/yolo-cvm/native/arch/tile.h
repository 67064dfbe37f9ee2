// Micro-kernels as templates over a vector type; included once by every arch/<isa>/kernels.cpp.
//
// A vector type V offers: I (register), L (int32 lanes), W (packed weights of one register),
// offset, load, store, set1, add, min, max, mul, sar, weights, broadcast, dot, and lookup_store.
// Where it `gathers`, index and gather_bytes look up a register of bytes at once; where it `packs`,
// store_clamped brings two registers of values into a range and stores them as words.
// All names live in an anonymous namespace, so no two instruction sets share a symbol.
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
  bool is_plain() const { return !q.clip && q.mul && q.carry_free; }
  CVM_INLINE I multiply_and_shift(I x, int n) const {
    return V::sar(V::add(V::mul(x, mul[n]), rounding[n]), q.shift);
  }
  CVM_INLINE I clamped(I x) const { return V::min(V::max(x, lo), hi); }

  void operator()(I* x) const {
    for (int n = 0; n < N; ++n) {
      I y = x[n];
      if (q.clip) y = V::min(V::max(y, clip_lo), clip_hi);
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

// A requantization whose per-channel pointers begin `by` channels later.
inline Requant advanced(Requant q, int64_t by) {
  if (q.mul) q.mul += by;
  if (q.rounding) q.rounding += by;
  if (q.offset) q.offset += by;
  return q;
}

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
      for (int n = 0; n < N; ++n) V::store(t.out + (m * N + n) * L, acc[m][n]);
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
#pragma GCC unroll 24
    for (int m = 0; m < M; m += 2 / N)
      V::store_clamped(index + m * N * L, requantize.multiply_and_shift(acc[m][0], 0),
                       requantize.multiply_and_shift(acc[next(m)][N - 1], N - 1), most);
  } else {
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) {
        if (t.out) V::store(t.out + (m * N + n) * L, acc[m][n]);
        if (t.requant->offset) acc[m][n] = V::sub(acc[m][n], requantize.offset[n]);
      }
    for (int m = 0; m < M; m += 2 / N)
      V::store_clamped(index + m * N * L, acc[m][0], acc[next(m)][N - 1], most);
  }
  for (int64_t s = 0; s < t.sink_count; ++s) t.lookup(index, M, N * L, t.valid, t.sinks[s]);
}

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

// d = f(a) and d = f(a, b) over whole registers; tiles are multiples of V::L.
template <class V, class F>
inline void map(int64_t n, const int32_t* a, int32_t* d, const F& f) {
  for (int64_t i = 0; i < n; i += V::L) V::store(d + i, f(V::load(a + i)));
}
template <class V, class F>
inline void zip(int64_t n, const int32_t* a, const int32_t* b, int32_t* d, const F& f) {
  for (int64_t i = 0; i < n; i += V::L) V::store(d + i, f(V::load(a + i), V::load(b + i)));
}

// d = f(a, constant), one constant per channel.
template <class V, class F>
inline void with_constant(const Tile& t, const TileOp& op, const F& f) {
  int32_t* d = t.registers[op.dst];
  const int32_t* a = t.registers[op.a];
  const int64_t lanes = t.lanes;
  for (int64_t l = 0; l < lanes; l += V::L) {
    const typename V::I c = V::load(op.constant + t.channel + l);
    for (int64_t m = 0; m < t.pixels; ++m)
      V::store(d + m * lanes + l, f(V::load(a + m * lanes + l), c));
  }
}

// Lanes of one pixel between memory of a narrow type and a register row.
template <class V, class T>
inline void widen(const T* from, int32_t* to, int64_t lanes, int64_t valid, int32_t offset) {
  if (valid == lanes) {
    const typename V::I shift = V::set1(offset);
    for (int64_t l = 0; l < lanes; l += V::L) V::store(to + l, V::sub(V::widen(from + l), shift));
    return;
  }
  for (int64_t l = 0; l < valid; ++l) to[l] = (int32_t)from[l] - offset;
  for (int64_t l = valid; l < lanes; ++l) to[l] = 0;
}
template <class V, class T>
inline void narrow(const int32_t* from, T* to, int64_t lanes, int64_t valid, int32_t offset) {
  if (valid == lanes) {
    const typename V::I shift = V::set1(offset);
    for (int64_t l = 0; l < lanes; l += V::L) V::narrow(V::add(V::load(from + l), shift), to + l);
    return;
  }
  for (int64_t l = 0; l < valid; ++l) to[l] = (T)wrap_add(from[l], offset);
}

// Table entries of one pixel's values, whatever these are.
template <class V>
inline void lookup_pixel(const Table& table, const int32_t* row, uint8_t* out, int64_t valid) {
  const int32_t last = (int32_t)table.count - 1;
  if constexpr (V::gathers) {
    const typename V::I zero = V::set1(0), most = V::set1(last);
    for (int64_t l = 0; l < valid; l += V::L) {
      const typename V::I x = V::min(V::max(V::load(row + l), zero), most);
      V::gather_bytes(out + l, table.bytes, x, valid - l);
    }
    return;
  }
  for (int64_t l = 0; l < valid; ++l) out[l] = table.bytes[clamp(row[l], 0, last)];
}

// One TileOp over a whole tile.
template <class V>
void run_op(const Tile& t, const TileOp& op) {
  const int64_t n = t.pixels * t.lanes;
  int32_t* d = t.registers[op.dst];
  const int32_t* a = t.registers[op.a];
  const int32_t* b = t.registers[op.b];
  const int64_t at = t.image * op.view.image_stride + t.y * op.view.row_stride +
                     t.x * op.view.pixel_stride;
  switch (op.kind) {
    case kRequant: {
      const Requant q = advanced(op.requant, t.channel);
      for (int64_t l = 0; l < t.lanes; l += V::L) {
        const Requant here = advanced(q, l);
        const Requantizer<V, 1> requantize(here);
        for (int64_t i = l; i < n; i += t.lanes) {
          typename V::I x[1] = {V::load(a + i)};
          requantize(x);
          V::store(d + i, x[0]);
        }
      }
      return;
    }
    case kLoad:
      for (int64_t m = 0; m < t.pixels; ++m) {
        const int64_t e = at + m * op.view.pixel_stride + t.channel;
        int32_t* row = d + m * t.lanes;
        if (op.view.dtype == kInt8) {
          if (V::offset) {
            widen<V>(op.view.base + e, row, t.lanes, t.valid, V::offset);
          } else {
            widen<V>((const int8_t*)op.view.base + e, row, t.lanes, t.valid, 0);
          }
        } else if (op.view.dtype == kInt16) {
          widen<V>((const int16_t*)op.view.base + e, row, t.lanes, t.valid, 0);
        } else {
          widen<V>((const int32_t*)op.view.base + e, row, t.lanes, t.valid, 0);
        }
      }
      return;
    case kClamp: {
      const typename V::I lo = V::set1(op.lo), hi = V::set1(op.hi);
      return map<V>(n, a, d, [&](typename V::I x) { return V::min(V::max(x, lo), hi); });
    }
    case kMaxConstant: return with_constant<V>(t, op, [](auto x, auto c) { return V::max(x, c); });
    case kAdd: return zip<V>(n, a, b, d, [](auto x, auto y) { return V::add(x, y); });
    case kSub: return zip<V>(n, a, b, d, [](auto x, auto y) { return V::sub(x, y); });
    case kMul: return zip<V>(n, a, b, d, [](auto x, auto y) { return V::mul(x, y); });
    case kMax: return zip<V>(n, a, b, d, [](auto x, auto y) { return V::max(x, y); });
    case kLookup: {
      const typename V::I zero = V::set1(0), last = V::set1((int32_t)op.table.count - 1);
      const int32_t* values = op.table.values;
      return map<V>(n, a, d, [&](typename V::I x) {
        return V::gather(values, V::min(V::max(x, zero), last));
      });
    }
    case kLookupStore:
    case kStore:
      for (int64_t m = 0; m < t.pixels; ++m) {
        const int64_t e = at + m * op.view.pixel_stride + t.channel;
        const int32_t* row = a + m * t.lanes;
        if (op.kind == kLookupStore) {
          lookup_pixel<V>(op.table, row, op.view.base + e, t.valid);
        } else if (op.view.dtype == kInt8) {
          narrow<V>(row, op.view.base + e, t.lanes, t.valid, V::offset);
        } else if (op.view.dtype == kInt16) {
          narrow<V>(row, (int16_t*)op.view.base + e, t.lanes, t.valid, 0);
        } else {
          narrow<V>(row, (int32_t*)op.view.base + e, t.lanes, t.valid, 0);
        }
      }
      return;
    case kScatter: {
      const int32_t* offset = op.channel_offset + t.channel;
      const int64_t stride = op.view.pixel_stride, lanes = t.lanes, pixels = t.pixels;
      // Channels whose places follow each other are copied together.
      for (int64_t l = 0; l < t.valid;) {
        const int64_t run = op.channel_run[t.channel + l];
        const int64_t end = run < t.valid - l ? l + run : t.valid;
        int32_t* o = (int32_t*)op.view.base + at + offset[l];
        const int32_t* row = a + l;
        const int64_t count = end - l;
        if (count == 1) {
          for (int64_t m = 0; m < pixels; ++m) o[m * stride] = row[m * lanes];
          l = end;
          continue;
        }
        for (int64_t m = 0; m < pixels; ++m, o += stride, row += lanes) {
          int64_t i = 0;
          for (; i + V::L <= count; i += V::L) V::store(o + i, V::load(row + i));
          // the last register again, ending where the run ends
          if (i < count && count >= V::L) {
            V::store(o + count - V::L, V::load(row + count - V::L));
          } else {
            for (; i < count; ++i) o[i] = row[i];
          }
        }
        l = end;
      }
      return;
    }
    default:
      return;
  }
}

template <class V>
void run_tile_code(const Tile& t) {
  for (int64_t i = 0; i < t.op_count; ++i) run_op<V>(t, t.ops[i]);
  leave_vectors();
}

template <class T>
inline void max_channels(uint8_t* into, const uint8_t* other, int64_t count) {
  T* d = (T*)into;
  const T* s = (const T*)other;
  for (int64_t i = 0; i < count; ++i) d[i] = d[i] > s[i] ? d[i] : s[i];
}
template <class V>
void max_pixel(int32_t dtype, uint8_t* into, const uint8_t* other, int64_t count) {
  switch (dtype) {
    case kInt16: return max_channels<int16_t>(into, other, count);
    case kInt32: return max_channels<int32_t>(into, other, count);
    default:
      return V::offset ? max_channels<uint8_t>(into, other, count)
                       : max_channels<int8_t>(into, other, count);
  }
}

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
  k.interleave = interleave<V>;
  fill_loops(k.loops);
  k.winograd = winograd;
  k.ceiling = ceiling<V>;
  return k;
}

}  // namespace
}  // namespace cvm
