// The operations of tile code: what an epilogue does that no fused form covers, a tile of registers
// at a time. What a vector type offers stands in tile.h.
#pragma once
#include <stdint.h>

#include "epilogue.h"
#include "kernels.h"

namespace cvm {
namespace {

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

// The same by whole registers, the last of them in part, where the instruction set has such.
template <class V, class T>
inline void load_lanes(const T* from, int32_t* to, int64_t lanes, int64_t valid, int32_t offset) {
  if constexpr (V::masks) {
    const typename V::I shift = V::set1(offset);
    int64_t l = 0;
    for (; l + V::L <= valid; l += V::L)
      V::store(to + l, V::sub(V::widen(from + l), shift));
    if (l < valid) V::store(to + l, V::sub(V::widen_part(from + l, valid - l), shift));
  } else {
    widen<V>(from, to, lanes, valid, offset);
  }
}
template <class V, class T>
inline void store_lanes(const int32_t* from, T* to, int64_t lanes, int64_t valid, int32_t offset) {
  if constexpr (V::masks) {
    const typename V::I shift = V::set1(offset);
    int64_t l = 0;
    for (; l + V::L <= valid; l += V::L) V::narrow(V::add(V::load(from + l), shift), to + l);
    if (l < valid) V::narrow_part(V::add(V::load(from + l), shift), to + l, valid - l);
  } else {
    narrow<V>(from, to, lanes, valid, offset);
  }
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

// Channels to the places that the plan gives each of them, as a head's are.
template <class V>
inline void scatter(const Tile& t, const TileOp& op, const int32_t* a, int64_t at) {
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
            load_lanes<V>(op.view.base + e, row, t.lanes, t.valid, V::offset);
          } else {
            load_lanes<V>((const int8_t*)op.view.base + e, row, t.lanes, t.valid, 0);
          }
        } else if (op.view.dtype == kInt16) {
          load_lanes<V>((const int16_t*)op.view.base + e, row, t.lanes, t.valid, 0);
        } else {
          load_lanes<V>((const int32_t*)op.view.base + e, row, t.lanes, t.valid, 0);
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
          store_lanes<V>(row, op.view.base + e, t.lanes, t.valid, V::offset);
        } else if (op.view.dtype == kInt16) {
          store_lanes<V>(row, (int16_t*)op.view.base + e, t.lanes, t.valid, 0);
        } else {
          store_lanes<V>(row, (int32_t*)op.view.base + e, t.lanes, t.valid, 0);
        }
      }
      return;
    case kScatter: return scatter<V>(t, op, a, at);
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

// One pixel after the other: the largest of `taps` neighbours from every `step`th pixel on, N
// channels at a time.
template <class T, int N>
inline void pool_channels(const PoolRow& p, int64_t first) {
  const T* from = (const T*)p.row + first;
  T* to = (T*)p.out + first;
  for (int64_t x = 0; x < p.pixels; ++x, from += p.step * p.channels, to += p.out_step) {
    T most[N];
    for (int c = 0; c < N; ++c) most[c] = from[c];
    for (int64_t k = 1; k < p.taps; ++k)
      for (int c = 0; c < N; ++c) {
        const T value = from[k * p.channels + c];
        most[c] = most[c] > value ? most[c] : value;
      }
    for (int c = 0; c < N; ++c) to[c] = most[c];
  }
}
template <class T>
inline void pool_pixels_of(const PoolRow& p) {
  int64_t c = 0;
  for (; c + 64 <= p.channels; c += 64) pool_channels<T, 64>(p, c);
  for (; c + 16 <= p.channels; c += 16) pool_channels<T, 16>(p, c);
  for (; c + 4 <= p.channels; c += 4) pool_channels<T, 4>(p, c);
  for (; c < p.channels; ++c) pool_channels<T, 1>(p, c);
}
template <class V>
void pool_pixels(int32_t dtype, const PoolRow& p) {
  switch (dtype) {
    case kInt16: return pool_pixels_of<int16_t>(p);
    case kInt32: return pool_pixels_of<int32_t>(p);
    default: return V::offset ? pool_pixels_of<uint8_t>(p) : pool_pixels_of<int8_t>(p);
  }
}

}  // namespace
}  // namespace cvm
