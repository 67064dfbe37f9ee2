// Plain steps of detection: get_valid_counts, non_max_suppression, and both as one selection.
#include <algorithm>
#include <cstring>

#include "plan.h"

namespace cvm {
namespace {

// Overlap of two boxes [.., .., x1, y1, x2, y2] in percent of their union (specification 3.3);
// int64 arithmetic that wraps, areas are signed.
int64_t percent_overlap(const int32_t* p, const int32_t* q) {
  const auto side = [](const int32_t* r, int lo, int hi) {
    return (uint64_t)((int64_t)r[hi] - r[lo]);
  };
  const auto area = [side](const int32_t* r) { return side(r, 2, 4) * side(r, 3, 5); };
  const auto overlap = [p, q](int lo, int hi) {
    const int64_t a = p[hi] < q[hi] ? p[hi] : q[hi], b = p[lo] > q[lo] ? p[lo] : q[lo];
    return (uint64_t)(a > b ? a - b : 0);
  };
  const uint64_t sum = area(p) + area(q), shared = overlap(2, 4) * overlap(3, 5);
  const bool large = (int64_t)shared > INT64_MAX / 100;
  const int64_t top = (int64_t)(large ? shared : shared * 100);
  const int64_t whole = (int64_t)(sum - shared), bottom = large ? whole / 100 : whole;
  if ((int64_t)sum <= 0 || bottom <= 0) return 0;
  return top / bottom;  // a negative quotient is below every threshold, however it is rounded
}

// Sorts by falling score, equal scores as they came, when keys rise.
uint64_t key_of(int32_t score, int64_t candidate) {
  return (uint64_t)~((uint32_t)score ^ 0x80000000u) << 32 | (uint64_t)candidate;
}

int64_t limited(int64_t count, int32_t most) {
  return most >= 0 ? std::min<int64_t>(count, most) : count;
}

// Greedy suppression of candidates whose keys are known. Keys are sorted as far as they are looked
// at, and the work is done in parts.
struct Greedy {
  const Execution& e;
  int32_t iou;
  bool force;
  int64_t tried, most;  // candidates looked at, boxes kept
  uint64_t* keys;
  Boxes boxes;   // those kept, room for `most`
  int32_t* out;  // rows of six numbers

  static constexpr int64_t kFirst = 1024, kMost = 1 << 20;  // keys sorted at a time
  static constexpr int64_t kLook = 1 << 18;                 // overlaps between looks at the clock

  void sort_more(Progress& p) const {
    const int64_t begin = p.sorted, wanted = std::max(kFirst, 4 * begin);
    p.sorted = std::min({tried, wanted, begin + kMost});
    uint64_t* const end = keys + p.candidates;
    if (keys + p.sorted < end) std::nth_element(keys + begin, keys + p.sorted, end);
    std::sort(keys + begin, keys + p.sorted);
  }

  // A box without area overlaps none.
  bool dropped(const int32_t* box, int64_t kept) const {
    if (box[4] <= box[2] || box[5] <= box[3]) return false;
    for (int64_t q = 0;; ++q) {
      q = e.loops().overlapping(boxes, q, kept, box, force);
      if (q >= kept) return false;
      if (percent_overlap(out + q * 6, box) >= iou) return true;
    }
  }

  // Whether all is done. row(candidate, box) reads six numbers.
  template <class Row>
  bool advance(Progress& p, const Row& row) const {
    int64_t work = 0;
    for (; p.next < tried && p.kept < most; ++p.next) {
      if (work > kLook && e.late()) return false;
      if (work > kLook) work = 0;
      if (p.next == p.sorted) sort_more(p);
      int32_t* box = out + p.kept * 6;
      row((int64_t)(uint32_t)keys[p.next], box);
      work += p.kept + 1;
      if (box[0] < 0 || dropped(box, p.kept)) continue;
      boxes.id[p.kept] = box[0];
      boxes.x1[p.kept] = box[2], boxes.y1[p.kept] = box[3];
      boxes.x2[p.kept] = box[4], boxes.y2[p.kept] = box[5];
      ++p.kept;
    }
    return true;
  }
};

// Working memory of a suppression: a key for every candidate, the boxes kept.
bool has_room(const Tensor& order, int64_t candidates, int64_t most) {
  return order.storage == Storage::kArena && order.offset % 8 == 0 &&
         order.count >= 2 * candidates + 5 * most;
}

Greedy greedy(const Execution& e, int32_t* order, int64_t candidates, int64_t most) {
  int32_t* b = order + 2 * candidates;
  Greedy g{e, 0, false, 0, 0, (uint64_t*)order, {}, nullptr};
  g.boxes = {b, b + most, b + 2 * most, b + 3 * most, b + 4 * most};
  return g;
}

struct ValidCounts : WholeStep, ValidCountsFields {
  ValidCounts(Words& w, const Plan& p) : ValidCountsFields(w, p) {
    require((__int128)batch * count * width == x.count && rows.count == x.count &&
                counts.count == batch,
            "get_valid_counts sizes differ");
  }
  void run(Execution& e) const override {
    const int32_t* s = e.values(x);
    int32_t *c = e.values(counts), *d = e.values(rows);
    const int64_t n = count, k = width;
    for (int64_t i = 0; i < batch; ++i) {
      int32_t* to = d + i * n * k;
      int32_t kept = 0;
      for (int64_t j = 0; j < n; ++j) {
        const int32_t* row = s + (i * n + j) * k;
        if (row[1] > threshold) std::memcpy(to + kept++ * k, row, (size_t)k * 4);
      }
      std::fill(to + kept * k, to + n * k, -1);
      c[i] = kept;
    }
  }
};

struct Suppress : Step, SuppressFields {
  int64_t most;
  Suppress(Words& w, const Plan& p)
      : SuppressFields(w, p), most(limited(limited(count, max_output), top_k)) {
    require((__int128)batch * count * 6 == x.count && out.count == x.count &&
                counts.count == batch && has_room(order, count, most),
            "non_max_suppression sizes differ");
  }
  bool advance(Execution& e) const override {
    Progress& p = e.progress;
    Greedy g = greedy(e, e.values(order), count, most);
    for (; p.batch < batch; p = {p.batch + 1, 0, 0, 0, 0, false}) {
      const int32_t* rows = e.values(x) + p.batch * count * 6;
      g.out = e.values(out) + p.batch * count * 6;
      if (!p.begun) {
        p.candidates = std::min<int64_t>(std::max(e.values(counts)[p.batch], 0), count);
        for (int64_t i = 0; i < p.candidates; ++i) g.keys[i] = key_of(rows[i * 6 + 1], i);
        p.begun = true;
      }
      g.iou = iou, g.force = force;
      g.tried = limited(p.candidates, top_k);
      g.most = limited(p.candidates, max_output);
      const auto row = [rows](int64_t i, int32_t* box) { std::memcpy(box, rows + i * 6, 24); };
      if (!g.advance(p, row)) return false;
      std::fill(g.out + p.kept * 6, g.out + count * 6, -1);
    }
    return true;
  }
};

// The first `rows` rows of what is left of candidates above a threshold. Their six numbers lie
// wherever they were made.
struct Select : Step, SelectFields {
  struct Column {
    Tensor tensor;
    int64_t start, step;
  };
  int64_t most;
  Column columns[6];
  Select(Words& w, const Plan& p)
      : SelectFields(w, p),
        most(std::min(rows, limited(limited(count, max_output), top_k))),
        columns{{column0, start0, step0}, {column1, start1, step1}, {column2, start2, step2},
                {column3, start3, step3}, {column4, start4, step4}, {column5, start5, step5}} {
    for (const Column& c : columns)
      require(c.start + (__int128)c.step * (count - 1) < c.tensor.count, "a column is too short");
    require(rows <= count && out.count == rows * 6 && has_room(order, count, most),
            "selection sizes differ");
  }
  bool advance(Execution& e) const override {
    Progress& p = e.progress;
    Greedy g = greedy(e, e.values(order), count, most);
    const int32_t* from[6];
    for (int k = 0; k < 6; ++k) from[k] = e.values(columns[k].tensor) + columns[k].start;
    if (!p.begun) {
      const int64_t step = columns[1].step;
      for (int64_t i = 0; i < count; ++i) {
        const int32_t score = from[1][i * step];
        g.keys[p.candidates] = key_of(score, i);
        p.candidates += score > threshold;
      }
      p.begun = true;
    }
    g.iou = iou, g.force = force;
    g.out = e.values(out);
    g.tried = limited(p.candidates, top_k);
    g.most = std::min(most, p.candidates);
    const auto row = [this, &from](int64_t i, int32_t* box) {
      for (int k = 0; k < 6; ++k) box[k] = from[k][i * columns[k].step];
    };
    if (!g.advance(p, row)) return false;
    std::fill(g.out + p.kept * 6, g.out + rows * 6, -1);
    return true;
  }
};

}  // namespace

CVM_STEP(valid_counts, ValidCounts)
CVM_STEP(suppress, Suppress)
CVM_STEP(select, Select)

}  // namespace cvm
