// WebAssembly's 128-bit vectors: bytes widen to 16 bits, of which pairs are multiplied and added.
#include "../kernels.h"
#if defined(__wasm_simd128__)
#include <wasm_simd128.h>

#include "../winograd.h"

namespace cvm {
namespace {

// Two registers of 16-bit values: the first and the last two of every four bytes.
struct Halves {
  v128_t first, last;
};

struct Wasm {
  static constexpr bool gathers = false;
  static constexpr bool packs = false;
  static constexpr int L = 4;
  static constexpr int32_t offset = 0;
  using I = v128_t;
  using W = Halves;
  using A = Halves;
  static I load(const int32_t* p) { return wasm_v128_load(p); }
  static void store(int32_t* p, I x) { wasm_v128_store(p, x); }
  static I set1(int32_t x) { return wasm_i32x4_splat(x); }
  static I add(I a, I b) { return wasm_i32x4_add(a, b); }
  static I widen(const uint8_t* p) {
    return wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(p)));
  }
  static I widen(const int8_t* p) {
    return wasm_i32x4_extend_low_i16x8(wasm_i16x8_extend_low_i8x16(wasm_v128_load32_zero(p)));
  }
  static I widen(const int16_t* p) { return wasm_i32x4_load16x4(p); }
  static I widen(const int32_t* p) { return load(p); }
  // The values fit the narrower type, so saturation does not occur.
  static v128_t words(I x) { return wasm_i16x8_narrow_i32x4(x, x); }
  static void narrow(I x, uint8_t* p) {
    const v128_t low = wasm_v128_and(words(x), wasm_i16x8_splat(0xff));
    wasm_v128_store32_lane(p, wasm_u8x16_narrow_i16x8(low, low), 0);
  }
  static void narrow(I x, int16_t* p) { wasm_v128_store64_lane(p, words(x), 0); }
  static void narrow(I x, int32_t* p) { store(p, x); }
  template <class T>
  static void pin(T&) {}
  static v128_t signed_halves(const void* p) { return wasm_i16x8_load8x8(p); }
  static v128_t unsigned_halves(const void* p) { return wasm_u16x8_load8x8(p); }
  static I sub(I a, I b) { return wasm_i32x4_sub(a, b); }
  static I gather(const int32_t* p, I x) {
    return wasm_i32x4_make(p[wasm_i32x4_extract_lane(x, 0)], p[wasm_i32x4_extract_lane(x, 1)],
                           p[wasm_i32x4_extract_lane(x, 2)], p[wasm_i32x4_extract_lane(x, 3)]);
  }
  static I mul(I a, I b) { return wasm_i32x4_mul(a, b); }
  static I min(I a, I b) { return wasm_i32x4_min(a, b); }
  static I max(I a, I b) { return wasm_i32x4_max(a, b); }
  static I sar(I a, int32_t s) { return wasm_i32x4_shr(a, s); }
  static I bit(I a, int32_t s) { return wasm_v128_and(sar(a, s), set1(1)); }
  static W weights(const int8_t* p) {
    const v128_t bytes = wasm_v128_load(p);
    const v128_t low = wasm_i16x8_extend_low_i8x16(bytes);
    const v128_t high = wasm_i16x8_extend_high_i8x16(bytes);
    return {wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), wasm_i32x4_shuffle(low, high, 1, 3, 5, 7)};
  }
  static A broadcast(const uint8_t* p) {
    const v128_t halves = wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(p));
    return {wasm_i32x4_shuffle(halves, halves, 0, 0, 0, 0),
            wasm_i32x4_shuffle(halves, halves, 1, 1, 1, 1)};
  }
  static I dot(I acc, const A& a, const W& w) {
    return add(acc, add(wasm_i32x4_dot_i16x8(a.first, w.first),
                        wasm_i32x4_dot_i16x8(a.last, w.last)));
  }
  static void store_index(uint16_t* p, I x) {
    wasm_v128_store64_lane(p, wasm_u16x8_narrow_i32x4(x, x), 0);
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
  using W = v128_t;
  using A = v128_t;
  static W weights(const int8_t* p) { return wasm_v128_load(p); }
  static A broadcast(const uint8_t* p) { return wasm_v128_load32_splat(p); }
  static I dot(I acc, A a, W w) { return add(acc, wasm_i32x4_dot_i16x8(a, w)); }
  template <int N>
  static void lookup_store(uint8_t* out, const I* x, const Table* table, int64_t valid) {
    lookup_store_plain<WasmWords, N>(out, x, table, valid);
  }
};

}  // namespace

const Kernels* kernels_wasm() {
  static const Kernels k =
      make_kernels<Wasm, 6, 4>("wasm", make_winograd<Wasm, WasmWords, 8, 4>(16));
  return &k;
}

}  // namespace cvm
#else
namespace cvm {
const Kernels* kernels_wasm() { return nullptr; }
}  // namespace cvm
#endif
