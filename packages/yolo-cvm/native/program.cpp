// Decoding tile programs; finding straight pieces that reproduce lookup tables.
#include "program.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace cvm {
namespace {

bool has_view(int32_t kind) {
  return kind == kLoad || kind == kStore || kind == kLookupStore || kind == kScatter;
}

constexpr int kSlopes = 2000;  // slopes tried for one piece

// Finds base and slope such that the piece's formula gives all its bytes; values equal to `top`
// may be exceeded. What it accepts has been checked at every index.
bool fit_piece(const uint8_t* bytes, int64_t count, int32_t bits, int32_t top, uint16_t* base,
               int16_t* slope) {
  const int32_t unit = 1 << (15 - bits);
  double least = -1e9, most = 1e9;  // bytes per index
  for (int64_t i = 1; i < count; ++i) {
    const double rise = (double)bytes[i] - bytes[0];
    least = std::max(least, (rise - 1) / (double)i);
    if (bytes[i] < top) most = std::min(most, (rise + 1) / (double)i);
  }
  if (bytes[0] >= top || count == 1) least = most = 0;
  const double scale = 256.0 * 65536.0 / unit;
  const int32_t s0 = (int32_t)std::max(-32768.0, std::floor(std::min(least, most) * scale));
  const int32_t s1 = (int32_t)std::min(32767.0, std::ceil(std::max(least, std::min(most, 64.0)) *
                                                          scale));
  const int32_t step = std::max(1, (s1 - s0) / kSlopes);
  for (int32_t s = s0; s <= s1; s += step) {
    int32_t lo = 0, hi = 0xffff;
    for (int64_t i = 0; i < count && lo <= hi; ++i) {
      const int32_t rise = (int32_t)(((int64_t)s * ((int32_t)i * unit)) >> 16);
      lo = std::max(lo, bytes[i] * 256 - rise);
      hi = std::min(hi, (bytes[i] < top ? bytes[i] * 256 + 255 : 0xffff) - rise);
    }
    if (lo <= hi) {
      *base = (uint16_t)lo;
      *slope = (int16_t)s;
      return true;
    }
  }
  return false;
}

void fit(const uint8_t* bytes, int64_t count, Segments* s) {
  std::memset(s, 0, sizeof *s);
  if (count > (int64_t)kPieces << 8) return;
  while ((int64_t)kPieces << s->bits < count) ++s->bits;
  s->top = *std::max_element(bytes, bytes + count);
  const int64_t piece = (int64_t)1 << s->bits;
  for (int64_t i = 0; i * piece < count; ++i)
    if (!fit_piece(bytes + i * piece, std::min(piece, count - i * piece), s->bits, s->top,
                   s->base + i, s->slope + i))
      return;
  s->usable = 1;
}

}  // namespace

const int32_t* Program::channels_of(const Plan& p, int64_t id, int64_t channels, int64_t padded,
                                    int32_t* per_channel) {
  const Constant& c = p.constant(id);
  require(c.count == 1 || c.count == channels, "a constant is neither scalar nor per channel");
  *per_channel = c.count != 1;
  auto copy = std::make_unique<int32_t[]>((size_t)padded);
  for (int64_t i = 0; i < padded; ++i)
    copy[(size_t)i] = c.count == 1 ? c.data[0] : c.data[std::min(i, channels - 1)];
  data_->constants.push_back(std::move(copy));
  return data_->constants.back().get();
}

Table Program::table_of(const Plan& p, int64_t id, bool bytes) {
  const Constant& c = p.constant(id);
  require(c.count <= INT32_MAX, "table too long");
  Table t = {c.data, c.count, nullptr, nullptr};
  auto copy = std::make_unique<int32_t[]>((size_t)c.count);
  std::copy(c.data, c.data + c.count, copy.get());
  t.values = copy.get();
  data_->constants.push_back(std::move(copy));
  if (!bytes) return t;
  auto stored = std::make_unique<uint8_t[]>((size_t)c.count);
  for (int64_t i = 0; i < c.count; ++i) {
    require(c.data[i] >= -128 && c.data[i] <= 127, "a table value does not fit a byte");
    stored[(size_t)i] = (uint8_t)(c.data[i] + p.kernels->offset);
  }
  t.bytes = stored.get();
  auto segments = std::make_unique<Segments>();
  if (p.kernels->offset) {
    fit(stored.get(), c.count, segments.get());
  } else {
    std::memset(segments.get(), 0, sizeof(Segments));
  }
  t.segments = segments.get();
  data_->bytes.push_back(std::move(stored));
  data_->segments.push_back(std::move(segments));
  return t;
}

void Program::view_of(TileOp& op, const Plan& p, int64_t id, const int64_t shape[4]) {
  const Tensor& t = p.image(id);
  for (int i = 0; i < 4; ++i) require(t.dims[i] == shape[i], "a view has another shape");
  op.view = {nullptr, t.dtype, t.image_stride, t.row_stride, t.pixel_stride};
  tensors_.back() = t;
  flat_ = flat_ && t.row_stride == shape[2] * t.pixel_stride;
}

void Program::scatter_of(TileOp& op, const Plan& p, Words& w, const int64_t shape[4],
                         int64_t padded) {
  const Tensor& t = p.target(w.next());
  const Constant& c = p.constant(w.next());
  require(c.count == shape[3], "one offset per channel expected");
  const int64_t most = (int64_t)1 << 40;
  op.view = {nullptr, kInt32, w.next(0, most), w.next(0, most), w.next(0, most)};
  const __int128 last = (__int128)op.view.image_stride * (shape[0] - 1) +
                        (__int128)op.view.row_stride * (shape[1] - 1) +
                        (__int128)op.view.pixel_stride * (shape[2] - 1);
  for (int64_t i = 0; i < c.count; ++i)
    require(c.data[i] >= 0 && last + c.data[i] < t.count, "scatter outside its tensor");
  auto offsets = std::make_unique<int32_t[]>((size_t)padded);
  std::copy(c.data, c.data + c.count, offsets.get());
  op.channel_offset = offsets.get();
  data_->constants.push_back(std::move(offsets));
  tensors_.back() = t;
  flat_ = flat_ && op.view.row_stride == shape[2] * op.view.pixel_stride;
}

void Program::requant_of(TileOp& op, const Plan& p, Words& w, int64_t channels, int64_t padded) {
  Requant& q = op.requant;
  q.clip = (int32_t)w.next(0, 1);
  q.clip_lo = w.next32();
  q.clip_hi = w.next32();
  const int64_t mul = w.next();
  int32_t per_channel;
  if (mul >= 0) q.mul = channels_of(p, mul, channels, padded, &per_channel);
  q.shift = (int32_t)w.next(0, 32);
  q.carry_free = (int32_t)w.next(0, 1);
  q.rounding = channels_of(p, w.next(), channels, padded, &per_channel);
  require(!q.carry_free || (q.shift >= 1 && q.shift <= 30), "shift of a carry-free rounding");
  q.lo = w.next32();
  q.hi = w.next32();
  const int64_t offset = w.next();
  if (offset >= 0) q.offset = channels_of(p, offset, channels, padded, &per_channel);
}

Program::Program(Words& w, const Plan& p, const int64_t shape[4], int64_t padded) {
  const int64_t count = w.next(0, (int64_t)kMaxOps);
  for (int64_t i = 0; i < count; ++i) {
    TileOp op;
    std::memset(&op, 0, sizeof op);
    op.kind = (int32_t)w.next(0, kScatter);
    op.dst = (int32_t)w.next(0, kTileRegisters - 1);
    op.a = (int32_t)w.next(0, kTileRegisters - 1);
    op.b = (int32_t)w.next(0, kTileRegisters - 1);
    tensors_.emplace_back();
    switch (op.kind) {
      case kRequant: requant_of(op, p, w, shape[3], padded); break;
      case kLoad: view_of(op, p, w.next(), shape); break;
      case kClamp:
      case kShift:
        op.shift = (int32_t)w.next(op.kind == kShift, 32);
        op.lo = w.next32();
        op.hi = w.next32();
        break;
      case kAddConst:
      case kMulConst:
      case kMaxConst:
        op.constant = channels_of(p, w.next(), shape[3], padded, &op.per_channel);
        break;
      case kLookup: op.table = table_of(p, w.next(), false); break;
      case kStore: view_of(op, p, w.next(), shape); break;
      case kLookupStore:
        op.table = table_of(p, w.next(), true);
        view_of(op, p, w.next(), shape);
        require(op.view.dtype == kInt8, "a byte lookup needs a byte image");
        break;
      case kScatter: scatter_of(op, p, w, shape, padded); break;
      default: break;
    }
    ops_.push_back(op);
  }
}

void Program::bind(const Execution& e, TileOp* into) const {
  for (size_t i = 0; i < ops_.size(); ++i) {
    into[i] = ops_[i];
    if (has_view(ops_[i].kind)) into[i].view.base = e.address(tensors_[i]);
  }
}

}  // namespace cvm
