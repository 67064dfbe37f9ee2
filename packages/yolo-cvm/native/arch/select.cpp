// Which instruction sets this machine can run; asked of the processor, once.
#include <cstring>
#include <string>
#include <vector>

#include "kernels.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace cvm {
namespace {

struct Machine {
  bool avx2 = false, avxvnni = false, avx512vnni = false, avx512vbmi = false, neon_dot = false;
};

#if defined(__x86_64__)
// State components the operating system saves (XCR0).
uint64_t saved_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}
#endif

Machine look() {
  Machine m;
#if defined(__x86_64__)
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27))) return m;  // OSXSAVE
  const uint64_t state = saved_state();
  unsigned b7, c7;
  if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) return m;
  unsigned a71 = 0, b71, c71, d71;
  if (a >= 1) __get_cpuid_count(7, 1, &a71, &b71, &c71, &d71);
  const bool ymm = (state & 0x6) == 0x6, zmm = (state & 0xe6) == 0xe6;
  m.avx2 = ymm && (b7 & (1u << 5));
#if defined(CVM_EMULATED_AVXVNNI)
  m.avxvnni = m.avx2;
#else
  m.avxvnni = m.avx2 && (a71 & (1u << 4));
#endif
  const unsigned needed = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
  m.avx512vnni = zmm && m.avx2 && (b7 & needed) == needed && (c7 & (1u << 11));
  const unsigned permutes = 1u << 1 | 1u << 12;  // VBMI, BITALG
  m.avx512vbmi = m.avx512vnni && (c7 & permutes) == permutes;
#elif defined(__aarch64__) && defined(__linux__)
  m.neon_dot = getauxval(AT_HWCAP) & (1ul << 20);  // HWCAP_ASIMDDP
#elif defined(__aarch64__)
  m.neon_dot = true;
#endif
  return m;
}

// Best first.
const std::vector<const Kernels*>& runnable() {
  static const std::vector<const Kernels*> found = [] {
    const Machine m = look();
    std::vector<const Kernels*> all;
    const auto offer = [&all](bool runs, const Kernels* (*make)()) {
      if (runs)
        if (const Kernels* k = make()) all.push_back(k);
    };
    offer(m.avx512vbmi, kernels_avx512vbmi);
    offer(m.avx512vnni, kernels_avx512vnni);
    offer(m.avxvnni, kernels_avxvnni);
    offer(m.avx2, kernels_avx2);
    offer(m.neon_dot, kernels_neon);
    offer(true, kernels_wasm);
    offer(true, kernels_portable);
    return all;
  }();
  return found;
}

}  // namespace

const Kernels* select_kernels(const char* name) {
  for (const Kernels* k : runnable())
    if (!name || !*name || !std::strcmp(k->name, name)) return k;
  return nullptr;
}

const char* runnable_kernels() {
  static const std::string names = [] {
    std::string s;
    for (const Kernels* k : runnable()) s += (s.empty() ? "" : " ") + std::string(k->name);
    return s;
  }();
  return names.c_str();
}

}  // namespace cvm
