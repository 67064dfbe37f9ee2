// Plain steps: dense int32 tensors, any shape, one loop per operator family. With those of
// plain_network.cpp they cover all 37 operators; what the planner cannot fuse runs here.
#include <algorithm>
#include <cstring>
#include <vector>

#include "plan.h"

namespace cvm {

void check_reach(const std::vector<Axis>& axes, int j, int64_t start, int64_t count) {
  __int128 lo = start, hi = start, total = 1;
  for (const Axis& a : axes) {
    const __int128 span = (__int128)a.stride[j] * (a.size - 1);
    (span < 0 ? lo : hi) += span;
    total *= a.size;
    require(total <= ((__int128)1 << 40), "step too large");
  }
  require(lo >= 0 && hi < count, "a step reaches outside its tensor");
}

int64_t product(const std::vector<Axis>& axes) {
  int64_t n = 1;
  for (const Axis& a : axes) n *= a.size;
  return n;
}

namespace {

// Calls body(at[0..k)) with the start of every row of the innermost axis, for rows in [begin, end).
template <int K, class Body>
void for_rows(const std::vector<Axis>& axes, int64_t begin, int64_t end, const int64_t* start,
              const Body& body) {
  const size_t outer = axes.empty() ? 0 : axes.size() - 1;
  int64_t at[K], index[kMaxAxes], rest = begin;
  for (int j = 0; j < K; ++j) at[j] = start[j];
  for (size_t i = outer; i-- > 0;) {
    index[i] = rest % axes[i].size;
    rest /= axes[i].size;
    for (int j = 0; j < K; ++j) at[j] += index[i] * axes[i].stride[j];
  }
  for (int64_t row = begin; row < end; ++row) {
    body(at);
    for (size_t i = outer; i-- > 0;) {
      for (int j = 0; j < K; ++j) at[j] += axes[i].stride[j];
      if (++index[i] < axes[i].size) break;
      for (int j = 0; j < K; ++j) at[j] -= index[i] * axes[i].stride[j];
      index[i] = 0;
    }
  }
}

int64_t rows_of(const std::vector<Axis>& axes) {
  return axes.empty() ? 1 : product(axes) / axes.back().size;
}
int64_t inner_of(const std::vector<Axis>& axes) { return axes.empty() ? 1 : axes.back().size; }
int64_t row_grain(const std::vector<Axis>& axes) {
  return std::max<int64_t>(1, kGrain / inner_of(axes));
}

// out[strided] = in[strided]: transpose, repeat, tile, slices, upsampling, concatenate, copies.
struct Copy : WholeStep, CopyFields {
  std::vector<Axis> outer;  // all but the last three
  MoveAxis inner[3];        // those, of size 1 where there are fewer
  int cut;                  // the first of these that is longer, which threads share
  Copy(Words& w, const Plan& p) : CopyFields(w, p) {
    check_reach(axes, 0, x_start, x.count);
    check_reach(axes, 1, out_start, out.count);
    const size_t n = axes.size(), kept = n < 3 ? 0 : n - 3;
    outer.assign(axes.begin(), axes.begin() + (ptrdiff_t)kept);
    outer.push_back({1, {0, 0, 0}});
    for (size_t i = 0; i < 3; ++i) inner[i] = {1, 0, 1};
    for (size_t i = kept; i < n; ++i)
      inner[3 - n + i] = {axes[i].size, axes[i].stride[0], axes[i].stride[1]};
    cut = inner[0].size == 1 ? 1 : 0;
  }
  void run(Execution& e) const override {
    const int32_t* s = e.values(x);
    int32_t* d = e.values(out);
    const int64_t start[2] = {x_start, out_start}, each = inner[cut].size;
    const int64_t below = inner[1].size * inner[2].size * inner[0].size / each;
    // Columns that a task took by themselves would fetch the lines that others share once more.
    const int64_t least = cut == 1 && inner[1].from == 1 ? kLineValues : 1;
    const int64_t grain = std::max(least, kGrain / below);
    e.split(rows_of(outer) * each, grain, [&](int64_t begin, int64_t end) {
      int64_t at_row = begin / each * each;  // where the block in turn begins
      for_rows<2>(outer, begin / each, (end - 1) / each + 1, start, [&](const int64_t* at) {
        const int64_t first = std::max(begin - at_row, (int64_t)0);
        MoveAxis part[3] = {inner[0], inner[1], inner[2]};
        part[cut].size = std::min(end - at_row, each) - first;
        e.loops().copy_block(s + at[0] + first * part[cut].from, d + at[1] + first * part[cut].to,
                             part);
        at_row += each;
      });
    });
  }
};

struct Unary : WholeStep, UnaryFields {
  Unary(Words& w, const Plan& p) : UnaryFields(w, p) {
    require(x.count == out.count, "unary sizes differ");
    const bool shifts = (UnaryKind)kind == UnaryKind::kRightShift ||
                        (UnaryKind)kind == UnaryKind::kLeftShift;
    require(!shifts || shift >= 1, "shift out of range");
  }
  void run(Execution& e) const override {
    const int32_t* s = e.values(x);
    int32_t* d = e.values(out);
    e.split(x.count, kGrain, [&](int64_t begin, int64_t end) {
      e.loops().unary((UnaryKind)kind, {s + begin, d + begin, end - begin, low, high, shift});
    });
  }
};

struct Binary : WholeStep, BinaryFields {
  Binary(Words& w, const Plan& p) : BinaryFields(w, p) {
    check_reach(axes, 0, 0, a.count);
    check_reach(axes, 1, 0, b.count);
    check_reach(axes, 2, 0, out.count);
  }
  void run(Execution& e) const override {
    const int32_t *x = e.values(a), *y = e.values(b);
    int32_t* z = e.values(out);
    const int64_t n = inner_of(axes), start[3] = {0, 0, 0};
    const int64_t* step = axes.empty() ? start : axes.back().stride;
    e.split(rows_of(axes), row_grain(axes), [&](int64_t begin, int64_t end) {
      for_rows<3>(axes, begin, end, start, [&](const int64_t* at) {
        e.loops().binary((BinaryKind)kind,
                         {x + at[0], y + at[1], z + at[2], step[0], step[1], step[2], n});
      });
    });
  }
};

// Sums or maxima: kept axes index the output, reduced axes are walked for each of its elements.
struct Reduce : WholeStep, ReduceFields {
  // floor_zero: max over all axes with axis=() starts at zero (specification 3.3)
  Reduce(Words& w, const Plan& p) : ReduceFields(w, p) {
    std::vector<Axis> all = kept;
    all.insert(all.end(), reduced.begin(), reduced.end());
    check_reach(all, 0, 0, x.count);
    require(product(kept) == out.count, "reduction size differs");
  }
  void run(Execution& e) const override {
    if (!reduced.empty() && !kept.empty() && kept.back().stride[0] == 1) {
      by_rows(e);
    } else {
      by_elements(e);
    }
  }
  int32_t first() const { return maximum && !floor_zero ? INT32_MIN : 0; }
  // Where neighbours in the output are neighbours in the input: whole rows at a time.
  void by_rows(Execution& e) const {
    const int32_t* s = e.values(x);
    int32_t* d = e.values(out);
    const int64_t n = kept.back().size, none[1] = {0};
    const auto join = maximum ? e.loops().max_rows : e.loops().add_rows;
    std::vector<Axis> each = reduced;
    each.push_back({1, {0, 0, 0}});
    const int64_t grain = std::max<int64_t>(1, kGrain / (n * product(reduced)));
    e.split(rows_of(kept), grain, [&](int64_t begin, int64_t end) {
      int32_t* to = d + begin * n;
      for_rows<1>(kept, begin, end, none, [&](const int64_t* base) {
        std::fill(to, to + n, first());
        for_rows<1>(each, 0, rows_of(each), base,
                    [&](const int64_t* at) { join(to, s + at[0], n); });
        to += n;
      });
    });
  }
  void by_elements(Execution& e) const {
    const int32_t* s = e.values(x);
    int32_t* d = e.values(out);
    const int64_t n = inner_of(reduced), none[1] = {0};
    const int64_t step = reduced.empty() ? 0 : reduced.back().stride[0];
    const auto join = maximum ? e.loops().max : e.loops().sum;
    std::vector<Axis> flat = kept;
    flat.push_back({1, {0, 0, 0}});
    const int64_t grain = std::max<int64_t>(1, kGrain / product(reduced));
    e.split(out.count, grain, [&](int64_t begin, int64_t end) {
      int64_t o = begin;
      for_rows<1>(flat, begin, end, none, [&](const int64_t* base) {
        int32_t result = first();
        for_rows<1>(reduced, 0, rows_of(reduced), base,
                    [&](const int64_t* at) { result = join(result, s + at[0], step, n); });
        d[o++] = result;
      });
    });
  }
};

// out[outer][i][inner] = data[outer][clamp(index[i])][inner]: take and cvm_lut.
struct Take : WholeStep, TakeFields {
  Take(Words& w, const Plan& p) : TakeFields(w, p) {
    const __int128 have = (__int128)outer * size * inner;
    const __int128 give = (__int128)outer * index.count * inner;
    require(have == data.count && give == out.count, "take sizes differ");
  }
  void run(Execution& e) const override {
    const int32_t *s = e.values(data), *ix = e.values(index);
    int32_t* d = e.values(out);
    const int64_t last = size - 1, picks = index.count;
    if (inner == 1) {
      e.split(outer * picks, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin, stop; i < end; i = stop) {
          const int64_t o = i / picks;
          stop = std::min(end, (o + 1) * picks);
          e.loops().lookup(s + o * size, size, ix + (i - o * picks), stop - i, d + i);
        }
      });
      return;
    }
    e.split(outer * picks, std::max<int64_t>(1, kGrain / inner), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t o = i / picks, v = ix[i % picks];
        const int64_t k = v < 0 ? 0 : (v > last ? last : v);
        std::memcpy(d + i * inner, s + (o * size + k) * inner, (size_t)inner * 4);
      }
    });
  }
};

// Of each row the first `whole` elements and the low bytes (by `mask`) of the next are copied, the
// rest is zero: the original copies bytes where it means elements (specification 3.3).
struct Where : WholeStep, WhereFields {
  Where(Words& w, const Plan& p) : WhereFields(w, p) {
    require(whole <= row, "where copies more than a row");
    require(x.count == out.count && y.count == out.count, "where sizes differ");
    require((__int128)condition.count * row == out.count, "where rows differ");
  }
  void run(Execution& e) const override {
    const int32_t *c = e.values(condition), *a = e.values(x), *b = e.values(y);
    int32_t* d = e.values(out);
    if (row == 1 && whole == 1) {
      e.split(out.count, kGrain, [&](int64_t begin, int64_t end) {
        e.loops().choose(c + begin, a + begin, b + begin, end - begin, d + begin);
      });
      return;
    }
    e.split(condition.count, std::max<int64_t>(1, kGrain / row), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int32_t* from = (c[i] ? a : b) + i * row;
        int32_t* to = d + i * row;
        std::copy(from, from + whole, to);
        std::fill(to + whole, to + row, 0);
        if (whole < row) to[whole] = (int32_t)((uint32_t)from[whole] & (uint32_t)mask);
      }
    });
  }
};

}  // namespace

CVM_STEP(copy, Copy)
CVM_STEP(unary, Unary)
CVM_STEP(binary, Binary)
CVM_STEP(reduce, Reduce)
CVM_STEP(take, Take)
CVM_STEP(where, Where)

}  // namespace cvm
