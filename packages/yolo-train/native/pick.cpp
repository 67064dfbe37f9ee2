// What the loss needs of the heads: the numbers that answer for each match, and the objectness of
// every place. The heads are read where they lie, and the gradient of each is written once.
//
// Inputs: the heads, each [B, A * no, h, w], then slot and place [...] of K matches in float32.
// A slot is image * A + anchor, below 0 where there is no match; a place is the cell's number over
// all levels, level by level.
// Outputs: boxes [K, 4], classes [K, no - 5], zeros where there is no match; objectness [B, A, P].
// Attributes: anchors A, numbers no, cells: h * w of each level.
#include <stdlib.h>
#include <string.h>

#include "operator.h"
#include "team.h"

namespace yolo {
namespace {

constexpr int kMostLevels = 16;
constexpr int kBox = 4, kObjectness = 4, kFirstClass = 5;
constexpr int kOutputs = 3;
constexpr float kMostExact = 16777216;  // float32 counts exactly below it

struct Layout {
  int levels;
  int64_t anchors, numbers;
  int64_t cells[kMostLevels], start[kMostLevels];
  int64_t places;

  int64_t classes() const { return numbers - kFirstClass; }

  int level(int64_t place) const {
    int found = 0;
    while (found + 1 < levels && place >= start[found + 1]) ++found;
    return found;
  }
};

bool read(const Attributes& attributes, Layout* layout) {
  layout->levels = attributes.whole_numbers("cells", layout->cells, kMostLevels);
  if (attributes.whole_numbers("anchors", &layout->anchors, 1) != 1) return false;
  if (attributes.whole_numbers("numbers", &layout->numbers, 1) != 1) return false;
  layout->places = 0;
  for (int i = 0; i < layout->levels; ++i) {
    layout->start[i] = layout->places;
    layout->places += layout->cells[i];
  }
  return layout->levels > 0 && layout->numbers > kFirstClass && layout->places < kMostExact;
}

const char* parse(const Attributes& attributes, int* inputs, int* outputs) {
  Layout layout;
  if (!read(attributes, &layout)) return "yolo_pick needs anchors, numbers and cells";
  *inputs = layout.levels + 2;
  *outputs = kOutputs;
  return nullptr;
}

const char* shapes(const Attributes& attributes, Shape* in, int, Shape* out, int) {
  Layout layout;
  read(attributes, &layout);
  for (int i = 0; i < layout.levels; ++i) {
    const Shape& head = in[i];
    if (head.dims < 2 || head.extent[0] != in[0].extent[0] ||
        head.extent[1] != layout.anchors * layout.numbers ||
        head.size() != head.extent[0] * head.extent[1] * layout.cells[i])
      return "yolo_pick has heads of another shape than its attributes say";
  }
  const Shape &slot = in[layout.levels], &place = in[layout.levels + 1];
  if (slot.dims < 1 || place.dims < 1 || slot.size() != place.size())
    return "yolo_pick needs a place for every slot";
  out[0] = {2, {slot.size(), kBox}};
  out[1] = {2, {slot.size(), layout.classes()}};
  out[2] = {3, {in[0].extent[0], layout.anchors, layout.places}};
  return nullptr;
}

struct Job {
  Layout layout;
  int64_t slots, matches;
  const float *slot, *place;
  float* const* heads;  // or their gradients
  float *boxes, *classes, *objectness;
  const int64_t *first, *order;  // matches of each slot: order[first[slot]] to order[first[slot + 1]]

  // Where number 0 of a place stands in the head of its level; the next is cells[level] on.
  float* numbers(int64_t own, int64_t at, int level) const {
    return heads[level] + own * layout.numbers * layout.cells[level] + at - layout.start[level];
  }

  // The slot of a match, -1 for none.
  int64_t own(int64_t match) const {
    const float found = slot[match];
    return found >= 0 && found < (float)slots ? (int64_t)found : -1;
  }

  int64_t at(int64_t match) const {
    const float found = place[match];
    return found >= 0 && found < (float)layout.places ? (int64_t)found : 0;
  }
};

void gather(const void* words, int64_t begin, int64_t end) {
  const Job& job = *(const Job*)words;
  const int64_t count = job.layout.classes();
  for (int64_t k = begin; k < end; ++k) {
    float* box = job.boxes + k * kBox;
    float* classes = job.classes + k * count;
    const int64_t own = job.own(k), at = job.at(k);
    if (own < 0) {
      memset(box, 0, kBox * sizeof(float));
      memset(classes, 0, count * sizeof(float));
      continue;
    }
    const int level = job.layout.level(at);
    const int64_t step = job.layout.cells[level];
    const float* from = job.numbers(own, at, level);
    for (int i = 0; i < kBox; ++i) box[i] = from[i * step];
    for (int64_t i = 0; i < count; ++i) classes[i] = from[(kFirstClass + i) * step];
  }
}

void copy_objectness(const void* words, int64_t begin, int64_t end) {
  const Job& job = *(const Job*)words;
  const Layout& layout = job.layout;
  for (int64_t own = begin; own < end; ++own)
    for (int level = 0; level < layout.levels; ++level)
      memcpy(job.objectness + own * layout.places + layout.start[level],
             job.numbers(own, layout.start[level], level) + kObjectness * layout.cells[level],
             layout.cells[level] * sizeof(float));
}

// A slot is worked on by one thread, its matches in their order: sums do not depend on the number
// of threads.
void scatter(const void* words, int64_t begin, int64_t end) {
  const Job& job = *(const Job*)words;
  const Layout& layout = job.layout;
  const int64_t count = layout.classes();
  for (int64_t own = begin; own < end; ++own) {
    for (int level = 0; level < layout.levels; ++level) {
      const int64_t cells = layout.cells[level], start = layout.start[level];
      float* to = job.numbers(own, start, level);
      memset(to, 0, layout.numbers * cells * sizeof(float));
      memcpy(to + kObjectness * cells, job.objectness + own * layout.places + start,
             cells * sizeof(float));
    }
    for (int64_t i = job.first[own]; i < job.first[own + 1]; ++i) {
      const int64_t k = job.order[i], at = job.at(k);
      const int level = layout.level(at);
      const int64_t step = layout.cells[level];
      float* to = job.numbers(own, at, level);
      for (int j = 0; j < kBox; ++j) to[j * step] += job.boxes[k * kBox + j];
      for (int64_t j = 0; j < count; ++j)
        to[(kFirstClass + j) * step] += job.classes[k * count + j];
    }
  }
}

const char* forward(const Call& call) {
  Job job = {};
  read(call.attributes, &job.layout);
  job.slots = call.shapes[2].extent[0] * job.layout.anchors;
  job.matches = call.shapes[0].extent[0];
  job.heads = call.in;
  job.slot = call.in[job.layout.levels], job.place = call.in[job.layout.levels + 1];
  job.boxes = call.out[0], job.classes = call.out[1], job.objectness = call.out[2];
  for_parts(job.matches, gather, &job);
  for_parts(job.slots, copy_objectness, &job);
  return nullptr;
}

const char* backward(const Call& call) {
  Job job = {};
  read(call.attributes, &job.layout);
  const int levels = job.layout.levels;
  job.slots = call.shapes[0].extent[0] * job.layout.anchors;
  job.matches = call.shapes[levels].size();
  job.boxes = call.in[0], job.classes = call.in[1], job.objectness = call.in[2];
  job.slot = call.in[kOutputs + levels], job.place = call.in[kOutputs + levels + 1];
  job.heads = call.out;
  // Matches by slot, in their order: places of the first of each slot, counted, then filled.
  int64_t* memory = (int64_t*)calloc(job.slots + 2 + job.matches, sizeof(int64_t));
  if (!memory) return "yolo_pick: out of memory";
  int64_t *next = memory + 1, *order = memory + job.slots + 2;
  for (int64_t k = 0; k < job.matches; ++k)
    if (job.own(k) >= 0) ++next[job.own(k) + 1];
  for (int64_t own = 0; own < job.slots; ++own) next[own + 1] += next[own];
  for (int64_t k = 0; k < job.matches; ++k)
    if (job.own(k) >= 0) order[next[job.own(k)]++] = k;
  job.first = memory, job.order = order;
  for_parts(job.slots, scatter, &job);
  free(memory);
  for (int i = levels; i < levels + 2; ++i)
    memset(call.out[i], 0, job.matches * sizeof(float));
  return nullptr;
}

}  // namespace

const Operator kPick = {"yolo_pick", parse, shapes, nullptr, 0, forward, backward};

}  // namespace yolo
