// AVX-VNNI: vpdpbusd on 256-bit registers, bytes stored with an offset of 128.
#include "../kernels.h"
#if defined(__AVXVNNI__)
#include "../vector256.h"

namespace cvm {
namespace {

struct AvxVnni : Vector256 {
  static constexpr int32_t offset = 128;
  using W = __m256i;
  using A = __m256i;
  static W weights(const int8_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static I dot(I acc, A a, W w) { return _mm256_dpbusd_avx_epi32(acc, a, w); }
  template <int N>
  static void lookup_store(uint8_t* out, const I* x, const Table* table, int64_t valid) {
    lookup_store_plain<AvxVnni, N>(out, x, table, valid);
  }
};

struct AvxVnniWords : AvxVnni {
  static I dot(I acc, A a, W w) { return _mm256_dpwssd_avx_epi32(acc, a, w); }
};

}  // namespace

const Kernels* kernels_avxvnni() {
  static const Kernels k = make_kernels<AvxVnni, 12, 6>(
      "avxvnni", make_winograd<AvxVnni, AvxVnniWords, 12, 6>(64));
  return &k;
}

}  // namespace cvm
#else
namespace cvm {
const Kernels* kernels_avxvnni() { return nullptr; }
}  // namespace cvm
#endif
