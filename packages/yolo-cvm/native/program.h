// Tile programs: the pointwise operations that follow a convolution (or stand alone), run on small
// int32 tiles that stay in the first level cache.
#pragma once
#include <memory>
#include <vector>

#include "plan.h"

namespace cvm {

// Padded copies of constants and tables; pointers into them are stable.
struct ProgramData {
  std::vector<std::unique_ptr<int32_t[]>> constants;
  std::vector<std::unique_ptr<uint8_t[]>> bytes;
  std::vector<std::unique_ptr<Segments>> segments;
};

class Program {
 public:
  // `channels` and `lanes`: extent that per-channel constants must cover; all views must hold
  // [batch, height, width, channels].
  Program(Words& w, const Plan& p, const int64_t shape[4], int64_t padded_channels);

  const std::vector<TileOp>& ops() const { return ops_; }
  // Same operations with the addresses of one execution.
  void bind(const Execution& e, TileOp* into) const;
  // Whether every view walks whole images with one stride, as if they were a single row.
  bool flat() const { return flat_; }
  size_t size() const { return ops_.size(); }

 private:
  const int32_t* channels_of(const Plan& p, int64_t id, int64_t channels, int64_t padded,
                             int32_t* per_channel);
  Table table_of(const Plan& p, int64_t id, bool bytes);
  void view_of(TileOp& op, const Plan& p, int64_t id, const int64_t shape[4]);
  void scatter_of(TileOp& op, const Plan& p, Words& w, const int64_t shape[4], int64_t padded);
  void requant_of(TileOp& op, const Plan& p, Words& w, int64_t channels, int64_t padded);

  std::vector<TileOp> ops_;
  std::vector<Tensor> tensors_;  // of each op; unused entries are ignored
  std::shared_ptr<ProgramData> data_ = std::make_shared<ProgramData>();
  bool flat_ = true;
};

constexpr size_t kMaxOps = 48;

}  // namespace cvm
