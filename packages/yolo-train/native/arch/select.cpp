// Which instruction sets this machine can run; asked of the processor.
#include <string.h>

#include "../kernels.h"

namespace yolo {

const Kernels* select_kernels(const char* name) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2"), avx512 = __builtin_cpu_supports("avx512f");
#else
  const bool avx2 = false, avx512 = false;
#endif
  const Kernels* best_first[] = {avx512 ? kernels_avx512() : nullptr,
                                 avx2 ? kernels_avx2() : nullptr, kernels_portable()};
  for (const Kernels* each : best_first)
    if (each && (!name || !*name || !strcmp(each->name, name))) return each;
  return nullptr;
}

}  // namespace yolo
