// WebAssembly's 128-bit vectors: bytes widen to 16 bits, of which pairs are multiplied and added.
#include "../kernels.h"
#if defined(__wasm_simd128__)
#include <wasm_simd128.h>

#include "../winograd.h"

namespace cvm {
namespace {

// Two registers are handled as one, since pixels are spread over registers once for both. Sixteen
// lanes of a block then share what spreading costs.
struct Two {
  v128_t low, high;
};
// 32 bytes as the transforms of winograd.h see them.
typedef int16_t SixteenHalves __attribute__((vector_size(32)));

// 16-bit values of two registers: the first pair of bytes of every lane, and the last.
struct Pairs {
  Two first, last;
};
// Two pairs of a pixel in all lanes.
struct Spread {
  v128_t first, last;
};

struct Wasm {
  static constexpr bool gathers = false;
  static constexpr bool packs = false;
  static constexpr bool masks = false;
  static constexpr int L = 8;
  static constexpr int32_t offset = 0;
  using I = Two;
  using W = Pairs;
  using A = Spread;
  static I load(const int32_t* p) { return {wasm_v128_load(p), wasm_v128_load(p + 4)}; }
  static void store(int32_t* p, I x) {
    wasm_v128_store(p, x.low);
    wasm_v128_store(p + 4, x.high);
  }
  static I both(v128_t x) { return {x, x}; }
  static I set1(int32_t x) { return both(wasm_i32x4_splat(x)); }
  static I add(I a, I b) { return {wasm_i32x4_add(a.low, b.low), wasm_i32x4_add(a.high, b.high)}; }
  static I of_words(v128_t x) {
    return {wasm_i32x4_extend_low_i16x8(x), wasm_i32x4_extend_high_i16x8(x)};
  }
  static I widen(const uint8_t* p) { return of_words(wasm_u16x8_load8x8(p)); }
  static I widen(const int8_t* p) { return of_words(wasm_i16x8_load8x8(p)); }
  static I widen(const int16_t* p) { return of_words(wasm_v128_load(p)); }
  static I widen(const int32_t* p) { return load(p); }
  // The values fit the narrower type, so saturation does not occur.
  static v128_t words(I x) { return wasm_i16x8_narrow_i32x4(x.low, x.high); }
  static void narrow(I x, uint8_t* p) {
    const v128_t low = wasm_v128_and(words(x), wasm_i16x8_splat(0xff));
    wasm_v128_store64_lane(p, wasm_u8x16_narrow_i16x8(low, low), 0);
  }
  static void narrow(I x, int16_t* p) { wasm_v128_store(p, words(x)); }
  static void narrow(I x, int32_t* p) { store(p, x); }
  template <class T>
  static void pin(T&) {}
  static SixteenHalves halves(v128_t low, v128_t high) {
    typedef int16_t Eight __attribute__((vector_size(16)));
    return __builtin_shufflevector((Eight)low, (Eight)high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
                                   13, 14, 15);
  }
  static SixteenHalves signed_halves(const void* p) {
    return halves(wasm_i16x8_load8x8(p), wasm_i16x8_load8x8((const uint8_t*)p + 8));
  }
  static SixteenHalves unsigned_halves(const void* p) {
    return halves(wasm_u16x8_load8x8(p), wasm_u16x8_load8x8((const uint8_t*)p + 8));
  }
  static I sub(I a, I b) { return {wasm_i32x4_sub(a.low, b.low), wasm_i32x4_sub(a.high, b.high)}; }
  static I gather(const int32_t* p, I x) {
    int32_t at[L], found[L];
    store(at, x);
    for (int i = 0; i < L; ++i) found[i] = p[at[i]];
    return load(found);
  }
  static I mul(I a, I b) { return {wasm_i32x4_mul(a.low, b.low), wasm_i32x4_mul(a.high, b.high)}; }
  static I min(I a, I b) { return {wasm_i32x4_min(a.low, b.low), wasm_i32x4_min(a.high, b.high)}; }
  static I max(I a, I b) { return {wasm_i32x4_max(a.low, b.low), wasm_i32x4_max(a.high, b.high)}; }
  static I sar(I a, int32_t s) { return {wasm_i32x4_shr(a.low, s), wasm_i32x4_shr(a.high, s)}; }
  static I bit(I a, int32_t s) {
    const v128_t one = wasm_i32x4_splat(1);
    const I x = sar(a, s);
    return {wasm_v128_and(x.low, one), wasm_v128_and(x.high, one)};
  }
  static W weights(const int8_t* p) {
    return {{wasm_i16x8_load8x8(p), wasm_i16x8_load8x8(p + 8)},
            {wasm_i16x8_load8x8(p + 16), wasm_i16x8_load8x8(p + 24)}};
  }
  static A broadcast(const uint8_t* p) {
    const v128_t halves = wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(p));
    return {wasm_i32x4_shuffle(halves, halves, 0, 0, 0, 0),
            wasm_i32x4_shuffle(halves, halves, 1, 1, 1, 1)};
  }
  static I multiply(I acc, v128_t a, Two w) {
    return {wasm_i32x4_add(acc.low, wasm_i32x4_dot_i16x8(a, w.low)),
            wasm_i32x4_add(acc.high, wasm_i32x4_dot_i16x8(a, w.high))};
  }
  static I dot(I acc, const A& a, const W& w) {
    return multiply(multiply(acc, a.first, w.first), a.last, w.last);
  }
  static void store_index(uint16_t* p, I x) {
    wasm_v128_store(p, wasm_u16x8_narrow_i32x4(x.low, x.high));
  }
  static void lookup(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
                     const ByteSink& sink) {
    lookup_tile<Wasm>(index, pixels, lanes, valid, sink);
  }
  template <int N>
  static void lookup_store(uint8_t* out, const I* x, const Table* table, int64_t valid) {
    lookup_store_plain<Wasm, N>(out, x, table, valid);
  }
};

struct WasmWords : Wasm {
  using W = Two;
  using A = v128_t;
  static W weights(const int8_t* p) { return {wasm_v128_load(p), wasm_v128_load(p + 16)}; }
  static A broadcast(const uint8_t* p) { return wasm_v128_load32_splat(p); }
  static I dot(I acc, A a, W w) { return multiply(acc, a, w); }
  template <int N>
  static void lookup_store(uint8_t* out, const I* x, const Table* table, int64_t valid) {
    lookup_store_plain<WasmWords, N>(out, x, table, valid);
  }
};

}  // namespace

const Kernels* kernels_wasm() {
  static const Kernels k = [] {
    Kernels made = make_kernels<Wasm, 5, 3>("wasm", make_winograd<Wasm, WasmWords, 4, 3>(16));
    made.pairs = true;
    return made;
  }();
  return &k;
}

}  // namespace cvm
#else
namespace cvm {
const Kernels* kernels_wasm() { return nullptr; }
}  // namespace cvm
#endif
