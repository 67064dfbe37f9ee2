// AArch64 NEON with the dot product extension: sdot multiplies signed by signed bytes.
#include "../kernels.h"
#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

#include "../tile.h"

namespace cvm {
namespace {

struct Neon {
  static constexpr bool gathers = false;
  static constexpr bool packs = false;
  static constexpr bool masks = false;
  static constexpr int L = 4;
  static constexpr int32_t offset = 0;
  using I = int32x4_t;
  using W = int8x16_t;
  using A = int8x16_t;
  static I load(const int32_t* p) { return vld1q_s32(p); }
  static void store(int32_t* p, I x) { vst1q_s32(p, x); }
  static I set1(int32_t x) { return vdupq_n_s32(x); }
  static I add(I a, I b) { return vaddq_s32(a, b); }
  template <class T>
  static I widen(const T* p) {
    const int32_t v[L] = {p[0], p[1], p[2], p[3]};
    return vld1q_s32(v);
  }
  template <class T>
  static void narrow(I x, T* p) {
    int32_t v[L];
    vst1q_s32(v, x);
    for (int i = 0; i < L; ++i) p[i] = (T)v[i];
  }
  // Keeps the compiler from reasoning about the value, and in a register.
  template <class T>
  static void pin(T& x) {
    asm volatile("" : "+w"(x));
  }
  static I sub(I a, I b) { return vsubq_s32(a, b); }
  static I gather(const int32_t* p, I x) {
    const int32_t v[L] = {p[vgetq_lane_s32(x, 0)], p[vgetq_lane_s32(x, 1)],
                          p[vgetq_lane_s32(x, 2)], p[vgetq_lane_s32(x, 3)]};
    return vld1q_s32(v);
  }
  static I mul(I a, I b) { return vmulq_s32(a, b); }
  static I min(I a, I b) { return vminq_s32(a, b); }
  static I max(I a, I b) { return vmaxq_s32(a, b); }
  static I sar(I a, int32_t s) { return vshlq_s32(a, vdupq_n_s32(-s)); }
  static I bit(I a, int32_t s) { return vandq_s32(sar(a, s), set1(1)); }
  static W weights(const int8_t* p) { return vld1q_s8(p); }
  static A broadcast(const uint8_t* p) {
    int32_t x;
    memcpy(&x, p, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(x));
  }
  static I dot(I acc, A a, W w) { return vdotq_s32(acc, a, w); }
  static void store_index(uint16_t* p, I x) { vst1_u16(p, vqmovun_s32(x)); }
  static void lookup(const uint16_t* index, int64_t pixels, int64_t lanes, int64_t valid,
                     const ByteSink& sink) {
    lookup_tile<Neon>(index, pixels, lanes, valid, sink);
  }
  template <int N>
  static void lookup_store(uint8_t* out, const I* x, const Table* table, int64_t valid) {
    lookup_store_plain<Neon, N>(out, x, table, valid);
  }
};

}  // namespace

const Kernels* kernels_neon() {
  static const Kernels k = make_kernels<Neon, 16, 12>("neon");
  return &k;
}

}  // namespace cvm
#else
namespace cvm {
const Kernels* kernels_neon() { return nullptr; }
}  // namespace cvm
#endif
