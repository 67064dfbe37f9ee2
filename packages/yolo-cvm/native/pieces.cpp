// Finding straight pieces. What is accepted has been checked at every index.
#include "pieces.h"

#include <algorithm>

namespace cvm {
namespace {

constexpr int kTried = 256;  // slopes from -128 to 127

// Sums that a piece may begin with for one slope: with any of [low, high] it is exact.
struct Begin {
  int32_t low, high;
};

Begin begin_of(const int32_t* values, int64_t count, int32_t slope) {
  Begin b = {INT32_MIN, INT32_MAX};
  for (int64_t i = 0; i < count; ++i) {
    const int32_t rise = slope * (int32_t)i;
    b.low = std::max(b.low, 256 * values[i] - rise);
    if (values[i] < INT8_MAX) b.high = std::min(b.high, 256 * values[i] + 255 - rise);
  }
  // it is stored in sixteen bits
  b.low = std::max<int32_t>(b.low, INT16_MIN);
  b.high = std::min<int32_t>(b.high, INT16_MAX);
  return b;
}

int32_t floor_div(int32_t a, int32_t b) { return a / b - (a % b < 0); }

// Slopes from which on and up to which a piece may be exact: each of its values must be within reach
// of the first. Most of the 256 are outside for nearly all pieces.
void narrow(const int32_t* values, int64_t count, int32_t* least, int32_t* most) {
  for (int32_t i = 1; i < (int32_t)count; ++i) {
    const int32_t rise = 256 * (values[i] - values[0]);
    if (values[0] < INT8_MAX) *least = std::max(*least, -floor_div(255 - rise, i));
    if (values[i] < INT8_MAX) *most = std::min(*most, floor_div(rise + 255, i));
  }
}

// The largest allowed sum whose last four bits are the number of the slope.
bool choose(const Begin& b, int number, int32_t* sum) {
  *sum = (int32_t)(((uint32_t)(b.high - number) & ~15u) + (uint32_t)number);
  return b.low <= b.high && *sum >= b.low;
}

}  // namespace

int32_t PieceBook::bits_of(int64_t count) {
  int32_t bits = 0;
  while (bits <= kMaxPieceBits && (int64_t)kBytePieces << bits < count) ++bits;
  return bits;
}

const BytePieces* PieceBook::find(const int32_t* table, int64_t count) {
  std::string key((size_t)count, '\0');
  for (int64_t i = 0; i < count; ++i) {
    if (table[i] < INT8_MIN || table[i] > INT8_MAX) return nullptr;
    key[(size_t)i] = (char)table[i];
  }
  const auto at = known_.find(key);
  if (at != known_.end()) return at->second.get();
  return known_.emplace(std::move(key), fit(table, count)).first->second.get();
}

std::unique_ptr<BytePieces> PieceBook::fit(const int32_t* table, int64_t count) {
  const int32_t bits = bits_of(count);
  if (bits > kMaxPieceBits) return nullptr;
  const int64_t size = (int64_t)1 << bits, pieces = (count + size - 1) / size;
  auto found = std::make_unique<BytePieces>();
  std::fill_n(found->value, kBytePieces, (int8_t)0);
  std::fill_n(found->code, kBytePieces, (uint8_t)0);
  const auto length = [&](int64_t p) { return std::min(size, count - p * size); };
  const auto keep = [&](int64_t p, int32_t sum) {
    found->value[p] = (int8_t)(sum >> 8);
    found->code[p] = (uint8_t)(sum & 255);
  };
  std::vector<int64_t> left;
  for (int64_t p = 0; p < pieces; ++p) {
    int32_t sum = 0;
    int number = 0;
    while (number < used_ &&
           !choose(begin_of(table + p * size, length(p), slopes_[number]), number, &sum))
      ++number;
    if (number < used_) {
      keep(p, sum);
    } else {
      left.push_back(p);
    }
  }
  // More slopes, each the one that suits most of the pieces that are left.
  std::vector<Begin> begins(left.size() * kTried, {0, -1});
  for (size_t i = 0; i < left.size(); ++i) {
    const int32_t* values = table + left[i] * size;
    int32_t least = -kTried / 2, most = kTried / 2 - 1;
    narrow(values, length(left[i]), &least, &most);
    if (least > most) return nullptr;
    for (int32_t s = least; s <= most; ++s)
      begins[i * kTried + (size_t)(s + kTried / 2)] = begin_of(values, length(left[i]), s);
  }
  std::vector<size_t> open(left.size());
  for (size_t i = 0; i < open.size(); ++i) open[i] = i;
  int used = used_;
  int8_t slopes[kSlopes];
  std::copy(slopes_, slopes_ + kSlopes, slopes);
  while (!open.empty() && used < kSlopes) {
    int suits[kTried] = {};
    int32_t sum;
    for (size_t i : open)
      for (int s = 0; s < kTried; ++s) {
        const Begin& b = begins[i * kTried + (size_t)s];
        if (b.low <= b.high) suits[s] += choose(b, used, &sum);
      }
    const int most = *std::max_element(suits, suits + kTried);
    if (!most) return nullptr;
    // in the middle of those that suit as many
    const auto equal = std::count(suits, suits + kTried, most);
    int best = 0;
    for (int64_t skip = equal / 2;; ++best)
      if (suits[best] == most && skip-- == 0) break;
    std::vector<size_t> still;
    for (size_t i : open) {
      if (choose(begins[i * kTried + (size_t)best], used, &sum)) {
        keep(left[i], sum);
      } else {
        still.push_back(i);
      }
    }
    slopes[used++] = (int8_t)(best - kTried / 2);
    open = std::move(still);
  }
  if (!open.empty()) return nullptr;
  std::copy(slopes, slopes + kSlopes, slopes_);
  used_ = used;
  return found;
}

}  // namespace cvm
