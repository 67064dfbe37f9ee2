// Straight pieces that reproduce tables of bytes: see BytePieces.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arch/kernels.h"

namespace cvm {

// The pieces of all tables of a plan. Their slopes are shared, so that one register holds them.
class PieceBook {
 public:
  // Pieces that equal table[0 .. count) at every index; null where there are none. Values of int8.
  const BytePieces* find(const int32_t* table, int64_t count);
  const int8_t* slopes() const { return slopes_; }

  // Bits of the index inside a piece of a table of `count` values; more than kMaxPieceBits where
  // pieces are too long.
  static int32_t bits_of(int64_t count);

 private:
  std::unique_ptr<BytePieces> fit(const int32_t* table, int64_t count);

  std::map<std::string, std::unique_ptr<BytePieces>> known_;  // null where there are none
  int8_t slopes_[kSlopes] = {};
  int used_ = 0;
};

}  // namespace cvm
