// Chains: operators on plain values that run together on pieces that stay in the nearest caches.
//
// Values are rows of `inner` numbers ("whole" registers), or one number for every row ("column"
// registers), as a maximum over the last axes is. A register lies in a tensor, or in working memory
// that holds as many rows as a piece has.
#include <algorithm>

#include "plan.h"

namespace cvm {
namespace {

constexpr int64_t kPiece = 1024;  // values of a register in working memory, or one row

struct Link {
  LinkKind kind;
  int32_t dst, a, b;
  bool column;  // of the result
  int32_t which, low, high, shift;  // of unary, binary, scalar, reduce: kind and numbers
  bool swapped;
  Tensor tensor;
  std::vector<Axis> axes;
};

// The three innermost axes as a block to be copied, where the value is made row by row.
class Gather {
 public:
  Gather(const std::vector<Axis>& axes, const int32_t* from, const Loops& loops)
      : axes_(axes), from_(from), loops_(loops) {}
  // Values [first, first + count) in row-major order.
  void take(int64_t first, int64_t count, int32_t* to) const {
    const Axis none = {1, {0, 0, 0}};
    const size_t n = axes_.size();
    const Axis &last = n > 0 ? axes_[n - 1] : none, &next = n > 1 ? axes_[n - 2] : none;
    while (count > 0) {
      const int64_t row = first / last.size, column = first % last.size;
      const bool part = column != 0 || count < last.size;
      const int64_t rows = part ? 1 : std::min(count / last.size, next.size - row % next.size);
      const int64_t each = part ? std::min(last.size - column, count) : last.size;
      const MoveAxis block[3] = {{1, 0, 0}, {rows, next.stride[0], each}, {each, last.stride[0], 1}};
      loops_.copy_block(from_ + at(row) + column * last.stride[0], to, block);
      first += rows * each;
      count -= rows * each;
      to += rows * each;
    }
  }

 private:
  int64_t at(int64_t row) const {
    int64_t place = 0;
    for (size_t i = axes_.size(); i-- > 1;) {
      place += row % axes_[i - 1].size * axes_[i - 1].stride[0];
      row /= axes_[i - 1].size;
    }
    return place;
  }
  const std::vector<Axis>& axes_;
  const int32_t* from_;
  const Loops& loops_;
};

struct Chain : WholeStep {
  int64_t rows, inner;
  std::vector<Link> links;
  int32_t homes[kLinkRegisters];  // the link that says where a register lies; -1: working memory
  int64_t size;                   // of a register there
  int64_t slots = 0;              // registers there

  Chain(Words& w, const Plan& p) : Chain(ChainFields(w, p), w, p) {}
  Chain(const ChainFields& f, Words& w, const Plan& p) : rows(f.rows), inner(f.inner) {
    require((__int128)rows * inner <= (__int128)1 << 40, "a chain is too large");
    require(inner <= kMostInner, "rows of a chain are too long");
    std::fill(homes, homes + kLinkRegisters, -1);
    size = std::max<int64_t>(kPiece, inner);
    const int64_t count = w.next(0, kMostLinks);
    State known[kLinkRegisters] = {};
    for (int64_t i = 0; i < count; ++i) read(w, p, (int32_t)i, known);
  }
  Scratch scratch() const override { return {0, slots * size * 4}; }

  void run(Execution& e) const override {
    const int64_t each = std::max<int64_t>(1, kPiece / inner), tiles = (rows + each - 1) / each;
    const int64_t grain = std::max<int64_t>(1, kGrain / (each * inner));
    const int64_t pieces = std::min<int64_t>((tiles + grain - 1) / grain, 64);
    e.pool.run_on(pieces, [&](int64_t piece, int thread) {
      int32_t* registers = (int32_t*)e.own(thread);
      for (int64_t i = tiles * piece / pieces; i < tiles * (piece + 1) / pieces; ++i)
        for (const Link& link : links)
          one(e, link, i * each, std::min(each, rows - i * each), registers);
    });
  }

 private:
  enum State { kEmpty, kPromised, kWhole, kColumn };
  static State made(bool column) { return column ? kColumn : kWhole; }

  void read(Words& w, const Plan& p, int32_t number, State* known) {
    Link link = {};
    link.kind = (LinkKind)w.next(0, (int64_t)kLastLink);
    link.dst = (int32_t)w.next(0, kLinkRegisters - 1);
    link.a = (int32_t)w.next(0, kLinkRegisters - 1);
    link.b = (int32_t)w.next(0, kLinkRegisters - 1);
    const bool one = link.kind == LinkKind::kInput || link.kind == LinkKind::kOutput;
    const bool reads = !one && link.kind != LinkKind::kGather;
    State &to = known[link.dst], from = known[link.a];
    require(!reads || from == kWhole || from == kColumn, "a register of a chain is empty");
    require(!reads || link.dst != link.a, "a link of a chain writes what it reads");
    link.column = from == kColumn;
    decode(link, w, p, known);
    if (one) {
      require(to == kEmpty, "a register of a chain lies in two places");
      homes[link.dst] = number;
      to = link.kind == LinkKind::kInput ? made(link.column) : kPromised;
    } else {
      const int32_t home = homes[link.dst];
      if (home >= 0) {
        require(to == kPromised, "a register of a chain is written again");
        require(links[(size_t)home].column == link.column, "a chain writes another kind of value");
      }
      to = made(link.column);
      if (home < 0) slots = std::max<int64_t>(slots, link.dst + 1);
    }
    links.push_back(std::move(link));
  }
  void decode(Link& link, Words& w, const Plan& p, const State* known) {
    switch (link.kind) {
      case LinkKind::kInput: {
        const LinkInputFields f(w, p);
        return lies(link, f.x, f.column);
      }
      case LinkKind::kOutput: {
        const LinkOutputFields f(w, p);
        return lies(link, f.out, f.column);
      }
      case LinkKind::kGather: {
        LinkGatherFields f(w, p);
        link.tensor = f.x;
        link.column = f.column;
        link.axes = std::move(f.axes);
        check_reach(link.axes, 0, 0, f.x.count);
        require(product(link.axes) == rows * (f.column ? 1 : inner), "a chain gathers another size");
        return;
      }
      case LinkKind::kUnary: {
        const LinkUnaryFields f(w, p);
        link.which = f.kind, link.low = f.low, link.high = f.high, link.shift = f.shift;
        const UnaryKind kind = (UnaryKind)f.kind;
        const bool shifts = kind == UnaryKind::kRightShift || kind == UnaryKind::kLeftShift;
        return require(!shifts || f.shift >= 1, "shift out of range");
      }
      case LinkKind::kBinary: {
        link.which = LinkBinaryFields(w, p).kind;
        require(known[link.a] == known[link.b], "a chain joins two kinds of values");
        return require(link.dst != link.b, "a link of a chain writes what it reads");
      }
      case LinkKind::kScalar: {
        const LinkScalarFields f(w, p);
        link.which = f.kind, link.low = f.value, link.swapped = f.swapped;
        return;
      }
      case LinkKind::kLookup: link.tensor = LinkLookupFields(w, p).table; return;
      case LinkKind::kReduce: {
        const LinkReduceFields f(w, p);
        link.which = f.maximum, link.low = f.least;
        require(!link.column, "a chain joins the values of a column");
        link.column = true;
        return;
      }
      case LinkKind::kSpread:
        require(link.column, "a chain spreads what is no column");
        link.column = false;
        return;
    }
  }
  void lies(Link& link, const Tensor& t, int64_t column) const {
    link.tensor = t;
    link.column = column;
    require(t.count == rows * (column ? 1 : inner), "a register of a chain has another size");
  }

  // Where a register's values for the rows from `row` on lie.
  int32_t* place(Execution& e, int32_t number, int64_t row, int32_t* registers) const {
    if (homes[number] < 0) return registers + number * size;
    const Link& home = links[(size_t)homes[number]];
    return e.values(home.tensor) + row * (home.column ? 1 : inner);
  }
  void one(Execution& e, const Link& k, int64_t row, int64_t some, int32_t* registers) const {
    const Loops& loops = e.loops();
    const int64_t count = some * (k.column ? 1 : inner);
    int32_t* d = place(e, k.dst, row, registers);
    const int32_t* a = place(e, k.a, row, registers);
    switch (k.kind) {
      case LinkKind::kInput:
      case LinkKind::kOutput: return;
      case LinkKind::kGather:
        return Gather(k.axes, e.values(k.tensor), loops)
            .take(row * (k.column ? 1 : inner), count, d);
      case LinkKind::kUnary:
        return loops.unary((UnaryKind)k.which, {a, d, count, k.low, k.high, k.shift});
      case LinkKind::kBinary:
        return loops.binary((BinaryKind)k.which,
                            {a, place(e, k.b, row, registers), d, 1, 1, 1, count});
      case LinkKind::kScalar:
        return k.swapped ? loops.binary((BinaryKind)k.which, {&k.low, a, d, 0, 1, 1, count})
                         : loops.binary((BinaryKind)k.which, {a, &k.low, d, 1, 0, 1, count});
      case LinkKind::kLookup:
        return loops.lookup(e.values(k.tensor), k.tensor.count, a, count, d);
      case LinkKind::kReduce: return loops.join_rows(k.which != 0, k.low, a, some, inner, d);
      case LinkKind::kSpread: {
        const MoveAxis block[3] = {{1, 0, 0}, {some, 1, inner}, {inner, 0, 1}};
        return loops.copy_block(a, d, block);
      }
    }
  }
};

}  // namespace

CVM_STEP(chain, Chain)

}  // namespace cvm
