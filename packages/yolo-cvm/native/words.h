// Epilogues that look up words of sixteen bits, as those around the additions of a network do.
#pragma once
#include <memory>
#include <vector>

#include "arch/kernels.h"

namespace cvm {

// Operations on the index in register 0 that one WordSink does: a lookup, an addition of an image,
// a store of words, and a requantization with a store of bytes.
class WordCode {
 public:
  // Of `ops[which[0]]` and so on, all of them; null where a WordSink does not do the same. highest:
  // of the indices, which are at least 0. channels: of the constants.
  static std::unique_ptr<WordCode> of(const std::vector<TileOp>& ops,
                                      const std::vector<size_t>& which, int32_t highest,
                                      int64_t channels);

  // The sink of tiles that begin with `channel`. bound: the operations with addresses, in the order
  // of `which`.
  WordSink sink(const TileOp* bound, int64_t channel) const;
  // Lets it be that of the tile at these coordinates.
  void place(WordSink* sink, const TileOp* bound, int64_t image, int64_t y, int64_t x,
             int64_t channel) const;

 private:
  bool find_pieces(const Table& table, int32_t highest);
  bool match(const std::vector<TileOp>& ops, const std::vector<size_t>& which, int64_t channels);

  WordPieces pieces_;
  // places among the operations; 0, where the lookup is, for none
  size_t load_ = 0, words_ = 0, requant_ = 0, bytes_ = 0;
};

}  // namespace cvm
