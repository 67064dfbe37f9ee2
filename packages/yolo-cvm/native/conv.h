// Convolutions on byte images with all that follows them: what the ways to compute them share.
#pragma once
#include <new>

#include "tile_code.h"
#include "words.h"

namespace cvm {

// Output channels that one pass of a micro-kernel handles.
struct Block {
  int64_t channel, vectors, lanes, valid;
};

struct AlignedFree {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t(64)); }
};
using PackedWeights = std::unique_ptr<int8_t, AlignedFree>;

// `bytes` zeros. Throws std::bad_alloc.
PackedWeights packed_zeros(int64_t bytes);

// First of equal pieces: where piece i of n begins.
inline int64_t piece_start(int64_t count, int64_t n, int64_t i) { return count * i / n; }

// Geometry, blocks of output channels, and the epilogue.
class Convolution {
  static constexpr size_t kSinks = 4;

 public:
  Convolution(Words& w, const Plan& p);
  // By single pixels, one for every row of the result, wherever they lie.
  Convolution(const ConvRowsFields& f, Words& w, const Plan& p);

  const Kernels* k;
  Tensor in;
  // [outputs, group_inputs, kh, kw] of [-127, 127]; valid while the plan is made
  Weights weight;
  int64_t shape[4];        // output: batch, height, width, channels
  int64_t kh, kw, sh, sw, ph, pw, dh, dw;
  int64_t group_inputs, group_outputs;  // channels of a group
  std::vector<Block> blocks;
  std::vector<int32_t> bias;  // padded to the last block

  int64_t padded_channels() const { return blocks.back().channel + blocks.back().lanes; }
  // Whether images and views walk pixel by pixel, as if every image were a single row.
  bool flat() const;
  bool grouped() const { return group_inputs != in.dims[3]; }
  // Whether results are scattered: then their cache lines should be filled at once.
  bool scatters() const { return scatters_; }
  // The scattered store, where nothing else is done with the result; otherwise null.
  const TileOp* only_scatter() const;

  // The operations of the epilogue in the order of use, with the addresses of one execution.
  struct Epilogue {
    TileOp ops[kMaxOps];
  };
  void bind(const Execution& e, Epilogue* into) const;
  // How many operations that are.
  size_t operations() const { return code_->size(); }

  // Registers of a tile.
  struct alignas(64) Room {
    int32_t values[kTileRegisters * kMaxPixels * 32];
  };

  // Micro-kernel and epilogue of one block, for one tile after the other.
  class Pass {
   public:
    Pass(const Convolution& c, const Epilogue& epilogue, const Block& b, Room& room);
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

    // What to add up: input, step, offsets, runs, run_words, weights, start, start_step.
    ConvTile t;

    // Pixels that follow each other in a row.
    void run(int64_t image, int64_t y, int64_t x, int64_t pixels);
    // Lets values of whole blocks that only a scattered store takes go to `out` instead, `step`
    // apart from pixel to pixel.
    void divert(int32_t* out, int64_t step) {
      keep(out, step);
      rest_.op_count = 0;
    }

   private:
    void keep(int32_t* out, int64_t step);

    const Convolution& c_;
    const Block& b_;
    const TileOp* stores_;  // of the sinks
    Requant requant_;
    ByteSink sinks_[kSinks];
    WordSink words_;
    Tile rest_;
  };

 private:
  Convolution(const ConvImageFields& f, Words& w, const Plan& p);
  void check_window(int axis, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) const;
  void prepare(int64_t groups, const Constant& added, Words& w, const Plan& p);
  void plan_epilogue();
  void find_pieces(PieceBook& book);

  std::unique_ptr<TileCode> code_;
  bool requantized_ = false;       // the first operation runs on the accumulators
  Indexed indexed_ = kNoIndex;     // how, if `direct_` are lookups that cannot miss their tables
  std::vector<size_t> direct_;     // byte stores that run on the accumulators too
  std::vector<size_t> remaining_;  // operations that run on the tile in the cache
  bool scatters_ = false;          // one of them writes to a plain tensor
  std::vector<BlockPieces> pieces_;  // kLaneIndex: of every direct store, block by block
  std::unique_ptr<WordCode> words_;  // kLaneIndex: does what remains; null where nothing does
};

// Winograd's way, which takes `c`; null, and `c` as it was, where that is not exact or not faster.
std::unique_ptr<Step> make_winograd(Convolution& c);

}  // namespace cvm
