// Finding out which epilogues a WordSink does, and the pieces of their tables.
#include "words.h"

#include <algorithm>
#include <cstring>

namespace cvm {
namespace {

template <class T>
T* address(const View& v, int64_t image, int64_t y, int64_t x, int64_t channel) {
  return (T*)v.base + image * v.image_stride + y * v.row_stride + x * v.pixel_stride + channel;
}

// Whether products with words and the clamp of their sums fit the forms of a WordSink.
bool narrows(const Requant& q, int64_t channels) {
  const bool form = !q.clip && q.mul && q.carry_free && !q.offset;
  return form && q.lo >= INT16_MIN && q.hi <= INT16_MAX &&
         std::all_of(q.mul, q.mul + channels,
                     [](int32_t m) { return m > INT16_MIN && m <= INT16_MAX; });
}

}  // namespace

bool WordCode::find_pieces(const Table& table, int32_t highest) {
  if (highest >= table.count || highest >= kWordPieces << kMaxWordPieceBits) return false;
  const int32_t count = highest + 1;
  std::memset(&pieces_, 0, sizeof pieces_);
  while (kWordPieces << pieces_.bits < count) ++pieces_.bits;
  const int32_t size = 1 << pieces_.bits;
  for (int32_t begin = 0, p = 0; begin < count; begin += size, ++p) {
    const int32_t* values = table.values + begin;
    const int32_t steps = std::min(size, count - begin) - 1;
    int64_t least = steps ? INT64_MAX : 0, most = steps ? INT64_MIN : 0;
    for (int32_t k = 0; k <= steps; ++k) {
      if (values[k] < INT16_MIN || values[k] > INT16_MAX) return false;
      if (k == 0) continue;
      least = std::min<int64_t>(least, values[k] - values[k - 1]);
      most = std::max<int64_t>(most, values[k] - values[k - 1]);
    }
    if (most - least > 1 || least < INT8_MIN || least > INT8_MAX) return false;
    uint32_t rises = 0;
    for (int32_t k = 1; k <= steps; ++k)
      if (values[k] - values[k - 1] > least) rises |= 1u << (16 - size + k);
    pieces_.first_low[p] = (uint8_t)(values[0] & 0xff);
    pieces_.first_high[p] = (uint8_t)(values[0] >> 8 & 0xff);
    pieces_.rises_low[p] = (uint8_t)(rises & 0xff);
    pieces_.rises_high[p] = (uint8_t)(rises >> 8);
    pieces_.tilt[p] = (int8_t)least;
  }
  return true;
}

bool WordCode::match(const std::vector<TileOp>& ops, const std::vector<size_t>& which,
                     int64_t channels) {
  size_t i = 1;
  const auto left = [&](size_t n) { return i + n <= which.size(); };
  const auto op = [&](size_t n) -> const TileOp& { return ops[which[i + n]]; };
  int32_t value = ops[which[0]].dst;
  if (left(2) && op(0).kind == kLoad && op(1).kind == kAdd) {
    const TileOp &load = op(0), &add = op(1);
    const bool both = std::minmax(add.a, add.b) == std::minmax(value, load.dst);
    if (load.dst == value || !both || load.view.dtype != kInt16) return false;
    value = add.dst;
    load_ = i;
    i += 2;
  }
  const auto stores = [&](size_t n, int32_t a, int32_t dtype) {
    return op(n).kind == kStore && op(n).a == a && op(n).view.dtype == dtype;
  };
  if (left(1) && stores(0, value, kInt16)) words_ = i++;
  if (load_ && left(2) && op(0).kind == kRequant && op(0).a == value &&
      narrows(op(0).requant, channels) && stores(1, op(0).dst, kInt8)) {
    requant_ = i;
    bytes_ = i + 1;
    i += 2;
  }
  return i == which.size() && (words_ || bytes_);
}

std::unique_ptr<WordCode> WordCode::of(const std::vector<TileOp>& ops,
                                       const std::vector<size_t>& which, int32_t highest,
                                       int64_t channels) {
  if (which.empty() || ops[which[0]].kind != kLookup || ops[which[0]].a != 0) return nullptr;
  auto made = std::make_unique<WordCode>();
  if (!made->match(ops, which, channels)) return nullptr;
  if (!made->find_pieces(ops[which[0]].table, highest)) return nullptr;
  return made;
}

WordSink WordCode::sink(const TileOp* bound, int64_t channel) const {
  WordSink s;
  std::memset(&s, 0, sizeof s);
  s.pieces = &pieces_;
  s.added_stride = bound[load_].view.pixel_stride;
  s.words_stride = bound[words_].view.pixel_stride;
  s.bytes_stride = bound[bytes_].view.pixel_stride;
  s.requant = advanced(bound[requant_].requant, channel);
  return s;
}

void WordCode::place(WordSink* sink, const TileOp* bound, int64_t image, int64_t y, int64_t x,
                     int64_t channel) const {
  if (load_) sink->added = address<int16_t>(bound[load_].view, image, y, x, channel);
  if (words_) sink->words = address<int16_t>(bound[words_].view, image, y, x, channel);
  if (bytes_) sink->bytes = address<uint8_t>(bound[bytes_].view, image, y, x, channel);
}

}  // namespace cvm
