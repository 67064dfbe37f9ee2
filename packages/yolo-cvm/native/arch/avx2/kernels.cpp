// AVX2: the sign of the input moves to the weight, then vpmaddubsw cannot saturate:
// 2 * 128 * 127 < 2^15, exact for inputs of -128..127 and weights of -127..127.
#include "../kernels.h"
#if defined(__AVX2__)
#include "../vector256.h"

namespace cvm {
namespace {

struct SignedBytes {
  __m256i value, magnitude;
};

struct Avx2 : Vector256 {
  static constexpr int32_t offset = 0;
  using W = __m256i;
  using A = SignedBytes;
  static W weights(const int8_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static A broadcast(const uint8_t* p) {
    const __m256i value = Vector256::broadcast(p);
    return {value, _mm256_abs_epi8(value)};
  }
  static I dot(I acc, const A& a, W w) {
    const __m256i pairs = _mm256_maddubs_epi16(a.magnitude, _mm256_sign_epi8(w, a.value));
    return add(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  template <int N>
  static void lookup_store(uint8_t* out, const I* x, const Table* table, int64_t valid) {
    lookup_store_plain<Avx2, N>(out, x, table, valid);
  }
};

struct Avx2Words : Vector256 {
  static constexpr int32_t offset = 0;
  using W = __m256i;
  using A = __m256i;
  static W weights(const int8_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static I dot(I acc, A a, W w) { return add(acc, _mm256_madd_epi16(a, w)); }
  template <int N>
  static void lookup_store(uint8_t* out, const I* x, const Table* table, int64_t valid) {
    lookup_store_plain<Avx2Words, N>(out, x, table, valid);
  }
};

}  // namespace

const Kernels* kernels_avx2() {
  static const Kernels k =
      make_kernels<Avx2, 8, 4>("avx2", make_winograd<Avx2, Avx2Words, 12, 6>(16));
  return &k;
}

}  // namespace cvm
#else
namespace cvm {
const Kernels* kernels_avx2() { return nullptr; }
}  // namespace cvm
#endif
