// Decoding tile code; finding straight pieces that reproduce lookup tables.
#include "tile_code.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace cvm {
namespace {

constexpr int kSlopes = 2000;  // slopes tried for one piece

// Slopes between which a piece may be exact, in bytes per index.
struct Slopes {
  double least, most;
};

Slopes slopes_of(const uint8_t* bytes, int64_t count, int32_t top) {
  Slopes s = {-1e9, 1e9};
  for (int64_t i = 1; i < count; ++i) {
    const double rise = (double)bytes[i] - bytes[0];
    s.least = std::max(s.least, (rise - 1) / (double)i);
    if (bytes[i] < top) s.most = std::min(s.most, (rise + 1) / (double)i);
  }
  return s;
}

// Finds base and slope such that the piece's formula gives all its bytes; values equal to `top`
// may be exceeded. What it accepts has been checked at every index.
bool fit_piece(const uint8_t* bytes, int64_t count, int32_t bits, int32_t top, uint16_t* base,
               int16_t* slope) {
  const int32_t unit = 1 << (15 - bits);
  auto [least, most] = slopes_of(bytes, count, top);
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
  for (int64_t i = 0; i * piece < count; ++i) {  // most tables that do not fit jump somewhere
    const uint8_t* first = bytes + i * piece;
    const Slopes slopes = slopes_of(first, std::min(piece, count - i * piece), s->top);
    if (*first < s->top && slopes.least >= slopes.most) return;
  }
  for (int64_t i = 0; i * piece < count; ++i)
    if (!fit_piece(bytes + i * piece, std::min(piece, count - i * piece), s->bits, s->top,
                   s->base + i, s->slope + i))
      return;
  s->usable = 1;
}

}  // namespace

const int32_t* TileCode::channels_of(const Constant& c, const Frame& f) {
  require(c.count == 1 || c.count == f.channels, "a constant is neither scalar nor per channel");
  auto copy = std::make_unique<int32_t[]>((size_t)f.padded);
  for (int64_t i = 0; i < f.padded; ++i)
    copy[(size_t)i] = c.count == 1 ? c.data[0] : c.data[std::min(i, f.channels - 1)];
  data_->constants.push_back(std::move(copy));
  return data_->constants.back().get();
}

Table TileCode::table_of(const Constant& c, const Frame& f, bool bytes) {
  require(c.count <= INT32_MAX, "table too long");
  Table t = {c.data, c.count, nullptr, nullptr};
  auto copy = std::make_unique<int32_t[]>((size_t)c.count);
  std::copy(c.data, c.data + c.count, copy.get());
  t.values = copy.get();
  data_->constants.push_back(std::move(copy));
  if (!bytes) return t;
  const int32_t offset = f.plan.kernels->offset;
  // Gathers read words: three bytes more than the last entry has.
  auto stored = std::make_unique<uint8_t[]>((size_t)c.count + 3);
  for (int64_t i = 0; i < c.count; ++i) {
    require(c.data[i] >= -128 && c.data[i] <= 127, "a table value does not fit a byte");
    stored[(size_t)i] = (uint8_t)(c.data[i] + offset);
  }
  t.bytes = stored.get();
  auto segments = std::make_unique<Segments>();
  if (offset) {
    fit(stored.get(), c.count, segments.get());
  } else {
    std::memset(segments.get(), 0, sizeof(Segments));
  }
  t.segments = segments.get();
  data_->bytes.push_back(std::move(stored));
  data_->segments.push_back(std::move(segments));
  return t;
}

void TileCode::view_of(TileOp& op, const Tensor& t, const Frame& f) {
  for (int i = 0; i < 4; ++i) require(t.dims[i] == f.shape[i], "a view has another shape");
  op.view = {nullptr, t.dtype, t.image_stride, t.row_stride, t.pixel_stride};
  tensors_.back() = t;
  flat_ = flat_ && t.row_stride == f.shape[2] * t.pixel_stride;
}

void TileCode::scatter_of(TileOp& op, const TileScatterFields& s, const Frame& f) {
  const Constant& c = s.offsets;
  require(c.count == f.shape[3], "one offset per channel expected");
  op.view = {nullptr, kInt32, s.image_stride, s.row_stride, s.pixel_stride};
  const __int128 last = (__int128)op.view.image_stride * (f.shape[0] - 1) +
                        (__int128)op.view.row_stride * (f.shape[1] - 1) +
                        (__int128)op.view.pixel_stride * (f.shape[2] - 1);
  for (int64_t i = 0; i < c.count; ++i)
    require(c.data[i] >= 0 && last + c.data[i] < s.target.count, "scatter outside its tensor");
  auto offsets = std::make_unique<int32_t[]>((size_t)f.padded);
  auto runs = std::make_unique<int32_t[]>((size_t)f.padded);
  std::copy(c.data, c.data + c.count, offsets.get());
  for (int64_t i = c.count - 1; i >= 0; --i) {
    const bool goes_on = i + 1 < c.count && (int64_t)c.data[i + 1] == (int64_t)c.data[i] + 1;
    runs[(size_t)i] = goes_on ? runs[(size_t)i + 1] + 1 : 1;
  }
  op.channel_offset = offsets.get();
  op.channel_run = runs.get();
  data_->constants.push_back(std::move(offsets));
  data_->constants.push_back(std::move(runs));
  tensors_.back() = s.target;
  flat_ = flat_ && op.view.row_stride == f.shape[2] * op.view.pixel_stride;
}

void TileCode::requant_of(TileOp& op, const TileRequantFields& r, const Frame& f) {
  require(!r.carry_free || (r.shift >= 1 && r.shift <= 30), "shift of a carry-free rounding");
  Requant& q = op.requant;
  q.clip = r.clip;
  q.clip_lo = r.clip_lo;
  q.clip_hi = r.clip_hi;
  if (r.mul.data) q.mul = channels_of(r.mul, f);
  q.shift = r.shift;
  q.carry_free = r.carry_free;
  q.rounding = channels_of(r.rounding, f);
  q.lo = r.low;
  q.hi = r.high;
  if (r.offset.data) q.offset = channels_of(r.offset, f);
}

void TileCode::decode(TileOp& op, Words& w, const Frame& f) {
  const Plan& p = f.plan;
  switch (op.kind) {
    case kRequant: return requant_of(op, TileRequantFields(w, p), f);
    case kLoad: return view_of(op, TileLoadFields(w, p).image, f);
    case kClamp: {
      const TileClampFields c(w, p);
      op.lo = c.low;
      op.hi = c.high;
      return;
    }
    case kMaxConstant: op.constant = channels_of(TileMaxConstantFields(w, p).values, f); return;
    case kLookup: op.table = table_of(TileLookupFields(w, p).table, f, false); return;
    case kStore: return view_of(op, TileStoreFields(w, p).image, f);
    case kLookupStore: {
      const TileLookupStoreFields l(w, p);
      op.table = table_of(l.table, f, true);
      view_of(op, l.image, f);
      require(op.view.dtype == kInt8, "a byte lookup needs a byte image");
      return;
    }
    case kScatter: return scatter_of(op, TileScatterFields(w, p), f);
    default: return;
  }
}

TileCode::TileCode(Words& w, const Plan& p, const int64_t shape[4], int64_t padded) {
  __int128 values = 1;  // of the result, so that counts of its rows and pixels stay in int64
  for (int i = 0; i < 4; ++i) values *= shape[i];
  require(values <= (__int128)1 << 40, "a result of tile code is too large");
  const Frame frame = {p, shape, shape[3], padded};
  const int64_t count = w.next(0, kMaxOps);
  for (int64_t i = 0; i < count; ++i) {
    TileOp op;
    std::memset(&op, 0, sizeof op);
    op.kind = (int32_t)w.next(0, kLastTile);
    op.dst = (int32_t)w.next(0, kTileRegisters - 1);
    op.a = (int32_t)w.next(0, kTileRegisters - 1);
    op.b = (int32_t)w.next(0, kTileRegisters - 1);
    tensors_.emplace_back();
    decode(op, w, frame);
    ops_.push_back(op);
  }
}

void TileCode::bind(const Execution& e, TileOp* into) const {
  for (size_t i = 0; i < ops_.size(); ++i) {
    into[i] = ops_[i];
    if (has_view(ops_[i].kind)) into[i].view.base = e.address(tensors_[i]);
  }
}

}  // namespace cvm
