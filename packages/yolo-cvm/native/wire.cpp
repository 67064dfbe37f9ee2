// Hexadecimal digits, as requests and answers of the node's protocol spell bytes.
#include "abi.h"
#include "arch/kernels.h"

namespace {

// An instruction set that this machine does not run leaves the choice to us, since every one gives
// the same digits.
const cvm::Digits& digits_of(const char* instruction_set) {
  const cvm::Kernels* k = cvm::select_kernels(instruction_set);
  return (k ? k : cvm::select_kernels(nullptr))->digits;
}

}  // namespace

CVM_API void cvm_hex(const uint8_t* bytes, int64_t count, uint8_t* digits,
                     const char* instruction_set) {
  digits_of(instruction_set).spell_bytes(bytes, count, digits);
}

CVM_API void cvm_hex_words(const int32_t* words, int64_t count, uint8_t* digits,
                           const char* instruction_set) {
  digits_of(instruction_set).spell_words(words, count, digits);
}

CVM_API int cvm_unhex(const uint8_t* digits, int64_t count, uint8_t* bytes,
                      const char* instruction_set) {
  return digits_of(instruction_set).read(digits, count, bytes) ? 0 : 1;
}
