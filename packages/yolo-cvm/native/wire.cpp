// Hexadecimal digits of an output, as an answer of the node's protocol spells them.
#include <cstdint>

#include "abi.h"

// An answer has up to 17 million digits. With -O2 gcc does not put these loops into vectors, and
// they then take six times as long, as long as the engine takes for the picture.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("O3")
#endif

namespace {

inline uint8_t digit(uint8_t value) { return (uint8_t)(value + '0' + (value > 9 ? 39 : 0)); }

void spell(const uint8_t* bytes, int64_t count, uint8_t* digits) {
  for (int64_t i = 0; i < count; ++i) {
    digits[2 * i] = digit(bytes[i] >> 4);
    digits[2 * i + 1] = digit(bytes[i] & 15);
  }
}

// The integer whose bytes in memory begin with the highest one of `word`.
inline uint32_t highest_first(uint32_t word) {
  const uint16_t probe = 1;
  if (!*(const uint8_t*)&probe) return word;
  return word >> 24 | (word >> 8 & 0xff00) | (word << 8 & 0xff0000) | word << 24;
}

}  // namespace

CVM_API void cvm_hex(const uint8_t* bytes, int64_t count, uint8_t* digits) {
  spell(bytes, count, digits);
}

CVM_API void cvm_hex_words(const int32_t* words, int64_t count, uint8_t* digits) {
  constexpr int64_t kBlock = 1024;
  uint32_t block[kBlock];
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t n = count - first < kBlock ? count - first : kBlock;
    for (int64_t i = 0; i < n; ++i) block[i] = highest_first((uint32_t)words[first + i]);
    spell((const uint8_t*)block, 4 * n, digits + 8 * first);
  }
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
