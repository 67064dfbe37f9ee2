// Hexadecimal digits of the node's protocol, spelled and read.
//
// An answer has up to 17 million digits and a request 2.5 million. Put into vectors by the compiler
// for each instruction set, these loops take a tenth of the engine's time for the picture; as
// single characters they take as long as the engine.
#pragma once
#include <stdint.h>

#include "kernels.h"

namespace cvm {
namespace {

inline uint8_t digit(uint8_t value) { return (uint8_t)(value + '0' + (value > 9 ? 39 : 0)); }

inline void spell_bytes(const uint8_t* bytes, int64_t count, uint8_t* digits) {
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

inline void spell_words(const int32_t* words, int64_t count, uint8_t* digits) {
  constexpr int64_t kBlock = 1024;
  uint32_t block[kBlock];
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t n = count - first < kBlock ? count - first : kBlock;
    for (int64_t i = 0; i < n; ++i) block[i] = highest_first((uint32_t)words[first + i]);
    spell_bytes((const uint8_t*)block, 4 * n, digits + 8 * first);
  }
}

// Whether all 2 * count characters are digits, of either case; their values in `bytes`.
inline bool read_digits(const uint8_t* digits, int64_t count, uint8_t* bytes) {
  constexpr int64_t kBlock = 1024;
  uint8_t values[2 * kBlock], strange = 0;
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t n = count - first < kBlock ? count - first : kBlock;
    const uint8_t* from = digits + 2 * first;
    for (int64_t i = 0; i < 2 * n; ++i) {
      const uint8_t number = (uint8_t)(from[i] - '0'), letter = (uint8_t)((from[i] | 32) - 'a');
      values[i] = number < 10 ? number : (uint8_t)(letter + 10);
      strange |= (uint8_t)((number >= 10) & (letter >= 6));
    }
    for (int64_t i = 0; i < n; ++i)
      bytes[first + i] = (uint8_t)(values[2 * i] << 4 | values[2 * i + 1]);
  }
  return !strange;
}

inline void fill_digits(Digits& d) {
  d.spell_bytes = spell_bytes;
  d.spell_words = spell_words;
  d.read = read_digits;
}

}  // namespace
}  // namespace cvm
