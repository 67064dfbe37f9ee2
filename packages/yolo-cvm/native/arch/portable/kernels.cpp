// Portable C++17: the truth for every other instruction set, right on any byte order.
#include "../tile.h"

namespace cvm {
namespace {

struct Lanes8 {
  int32_t v[8];
};
struct Bytes32 {
  const int8_t* v;
};
struct Bytes4 {
  int32_t v[4];
};

struct Portable {
  static constexpr bool gathers = false;
  static constexpr bool packs = false;
  static constexpr bool masks = false;
  static constexpr int L = 8;
  static constexpr int32_t offset = 0;
  using I = Lanes8;
  using W = Bytes32;
  using A = Bytes4;
  static I load(const int32_t* p) {
    I r;
    memcpy(r.v, p, sizeof r.v);
    return r;
  }
  static void store(int32_t* p, const I& x) { memcpy(p, x.v, sizeof x.v); }
  static I set1(int32_t x) {
    I r;
    for (int i = 0; i < L; ++i) r.v[i] = x;
    return r;
  }
  static I add(const I& a, const I& b) {
    I r;
    for (int i = 0; i < L; ++i) r.v[i] = wrap_add(a.v[i], b.v[i]);
    return r;
  }
  template <class T>
  static I widen(const T* p) {
    I r;
    for (int i = 0; i < L; ++i) r.v[i] = p[i];
    return r;
  }
  template <class T>
  static void narrow(const I& x, T* p) {
    for (int i = 0; i < L; ++i) p[i] = (T)x.v[i];
  }
  template <class T>
  static void pin(T&) {}
  static I sub(const I& a, const I& b) {
    I r;
    for (int i = 0; i < L; ++i) r.v[i] = (int32_t)((uint32_t)a.v[i] - (uint32_t)b.v[i]);
    return r;
  }
  static I gather(const int32_t* p, const I& x) {
    I r;
    for (int i = 0; i < L; ++i) r.v[i] = p[x.v[i]];
    return r;
  }
  static I mul(const I& a, const I& b) {
    I r;
    for (int i = 0; i < L; ++i) r.v[i] = (int32_t)((uint32_t)a.v[i] * (uint32_t)b.v[i]);
    return r;
  }
  static I min(const I& a, const I& b) {
    I r;
    for (int i = 0; i < L; ++i) r.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
    return r;
  }
  static I max(const I& a, const I& b) {
    I r;
    for (int i = 0; i < L; ++i) r.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
    return r;
  }
  static I sar(const I& a, int32_t s) {
    I r;
    for (int i = 0; i < L; ++i) r.v[i] = a.v[i] >> s;
    return r;
  }
  static I bit(const I& a, int32_t s) {
    I r;
    for (int i = 0; i < L; ++i) r.v[i] = (a.v[i] >> s) & 1;
    return r;
  }
  static W weights(const int8_t* p) { return {p}; }
  static A broadcast(const uint8_t* p) {
    const int8_t* s = (const int8_t*)p;
    return {{s[0], s[1], s[2], s[3]}};
  }
  static I dot(const I& acc, const A& a, const W& w) {
    I r;
    for (int i = 0; i < L; ++i)
      r.v[i] = wrap_add(acc.v[i], a.v[0] * w.v[4 * i] + a.v[1] * w.v[4 * i + 1] +
                                      a.v[2] * w.v[4 * i + 2] + a.v[3] * w.v[4 * i + 3]);
    return r;
  }
  static void store_index(uint16_t* p, const I& x) {
    for (int i = 0; i < L; ++i) p[i] = (uint16_t)x.v[i];
  }
  static void lookup(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
                     const ByteSink& sink) {
    lookup_tile<Portable>(index, pixels, lanes, valid, sink);
  }
  template <int N>
  static void lookup_store(uint8_t* out, const I* x, const Table* table, int64_t valid) {
    lookup_store_plain<Portable, N>(out, x, table, valid);
  }
};

}  // namespace

const Kernels* kernels_portable() {
  static const Kernels k = make_kernels<Portable, 4, 2>("portable");
  return &k;
}

}  // namespace cvm
