// Tile code: the pointwise operations that follow a convolution (or stand alone), run on small
// int32 tiles that stay in the first level cache.
#pragma once
#include <memory>
#include <vector>

#include "plan.h"

namespace cvm {

// Padded copies of constants and tables; pointers into them are stable.
struct TileCodeData {
  std::vector<std::unique_ptr<int32_t[]>> constants;
  std::vector<std::unique_ptr<uint8_t[]>> bytes;
  std::vector<std::unique_ptr<Segments>> segments;
};

class TileCode {
 public:
  // `channels` and `lanes`: extent that per-channel constants must cover; all views must hold
  // [batch, height, width, channels].
  TileCode(Words& w, const Plan& p, const int64_t shape[4], int64_t padded_channels);

  const std::vector<TileOp>& ops() const { return ops_; }
  // Same operations with the addresses of one execution.
  void bind(const Execution& e, TileOp* into) const;
  // Whether every view walks whole images with one stride, as if they were a single row.
  bool flat() const { return flat_; }
  size_t size() const { return ops_.size(); }

 private:
  // What the code is decoded for.
  struct Frame {
    const Plan& plan;
    const int64_t* shape;
    int64_t channels, padded;
  };
  void decode(TileOp& op, Words& w, const Frame& f);
  const int32_t* channels_of(const Constant& c, const Frame& f);
  Table table_of(const Constant& c, const Frame& f, bool bytes);
  void view_of(TileOp& op, const Tensor& t, const Frame& f);
  void scatter_of(TileOp& op, const TileScatterFields& s, const Frame& f);
  void requant_of(TileOp& op, const TileRequantFields& r, const Frame& f);

  std::vector<TileOp> ops_;
  std::vector<Tensor> tensors_;  // of each op; unused entries are ignored
  std::shared_ptr<TileCodeData> data_ = std::make_shared<TileCodeData>();
  bool flat_ = true;
};

}  // namespace cvm
