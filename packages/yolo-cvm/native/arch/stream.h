// Writing whole cache lines past the caches: a line that is overwritten whole is not read before.
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#include "epilogue.h"

namespace cvm {
namespace {

#if defined(__AVX__)
inline void stream_line(char* to, const char* from) {
#if defined(__AVX512F__)
  _mm512_stream_si512((__m512i*)to, _mm512_loadu_si512(from));
#else
  const __m256i low = _mm256_loadu_si256((const __m256i*)from);
  const __m256i high = _mm256_loadu_si256((const __m256i*)(from + 32));
  _mm256_stream_si256((__m256i*)to, low);
  _mm256_stream_si256((__m256i*)(to + 32), high);
#endif
}

// memcpy that is seen by other threads only after `settle`.
inline void stream(int32_t* into, const int32_t* values, int64_t count) {
  constexpr int64_t kLine = 64;
  char* to = (char*)into;
  const char* from = (const char*)values;
  int64_t bytes = count * 4, head = -(int64_t)(uintptr_t)to & (kLine - 1);
  if (head > bytes) head = bytes;
  memcpy(to, from, (size_t)head);
  for (to += head, from += head, bytes -= head; bytes >= kLine; bytes -= kLine) {
    stream_line(to, from);
    to += kLine, from += kLine;
  }
  memcpy(to, from, (size_t)bytes);
  leave_vectors();
}
inline void settle() { _mm_sfence(); }
#endif

}  // namespace
}  // namespace cvm
