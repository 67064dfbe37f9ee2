// Plans against the checker of the compiled library, under libFuzzer: what it takes is run.
//
// A test case is a number of words (4 bytes), the words of a plan (8 bytes each), then constants:
// bytes of an element (1), their number (4 bytes), elements. Little-endian throughout.
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "../packages/yolo-cvm/native/abi.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t*, size_t, size_t);

namespace {

constexpr int64_t kMost = 1 << 24;      // bytes that a plan may take to be run
constexpr int64_t kMostSteps = 1 << 10;
constexpr double kSeconds = 0.2;
const int64_t kEdges[] = {0,  1,  -1, 2, 63, 64, INT64_C(1) << 30, INT32_MAX, INT32_MIN,
                          INT64_C(1) << 62, INT64_MAX, INT64_MIN};

struct Case {
  std::vector<int64_t> words;
  std::vector<std::unique_ptr<uint8_t[]>> constants;  // of their very size, so that a step beyond is seen
  std::vector<int64_t> counts;
};

template <class T>
T read(const uint8_t* data) {
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

size_t words_of(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  const size_t most = (size - 4) / 8, told = read<uint32_t>(data);
  return told < most ? told : most;
}

Case parse(const uint8_t* data, size_t size) {
  Case c;
  const size_t words = words_of(data, size);
  for (size_t i = 0; i < words; ++i) c.words.push_back(read<int64_t>(data + 4 + 8 * i));
  for (size_t at = 4 + 8 * words; at + 5 <= size;) {
    const size_t width = data[at] == 1 ? 1 : 4, told = read<uint32_t>(data + at + 1);
    at += 5;
    const size_t most = (size - at) / width, count = told < most ? told : most;
    c.constants.emplace_back(new uint8_t[count * width]);
    if (count) std::memcpy(c.constants.back().get(), data + at, count * width);
    c.counts.push_back((int64_t)count);
    at += count * width;
  }
  return c;
}

// Whether input, outputs and working memory are small. The plan was taken, so the words are there.
bool small(const Case& c) {
  int64_t bytes = c.words[1] + 4 * c.words[2];
  if (c.words[1] > kMost || c.words[2] > kMost || c.words[5] > kMostSteps) return false;
  for (int64_t i = 0; i < c.words[6]; ++i) {
    if (c.words[7 + i] > kMost) return false;
    bytes += 4 * c.words[7 + i];
    if (bytes > kMost) return false;
  }
  return bytes <= kMost;
}

void run(const Case& c, const void* plan) {
  void* execution = nullptr;
  if (!small(c) || cvm_execution_new(plan, 1, &execution)) return;
  std::vector<int32_t> input((size_t)c.words[2]);
  uint32_t state = 1;
  for (int32_t& value : input) value = (int32_t)(state = state * 1664525u + 1013904223u);
  std::vector<std::unique_ptr<int32_t[]>> outputs;
  std::vector<int32_t*> addresses;
  for (int64_t i = 0; i < c.words[6]; ++i) {
    outputs.emplace_back(new int32_t[(size_t)c.words[7 + i]]);
    addresses.push_back(outputs.back().get());
  }
  cvm_begin(execution, input.data(), addresses.data(), INT32_MAX);
  cvm_advance(execution, INT64_MAX, kSeconds);
  cvm_execution_free(execution);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Case c = parse(data, size);
  if (c.words.size() < 8 || c.words[3] < 0 || c.words[3] > (int64_t)c.counts.size()) return 0;
  std::vector<const void*> pointers;
  for (const auto& constant : c.constants) pointers.push_back(constant.get());
  // How many bytes an element has is said by the plan; what lies there must be as much.
  for (int64_t i = 0; i < c.words[3]; ++i) {
    const size_t at = (size_t)(7 + (c.words[6] > 0 && c.words[6] < 64 ? c.words[6] : 0) + i);
    if (at < c.words.size() && c.words[at] != 1) c.counts[(size_t)i] /= 4;
  }
  void* plan = nullptr;
  if (cvm_plan_new(c.words.data(), (int64_t)c.words.size(), pointers.data(), c.counts.data(), "",
                   &plan))
    return 0;
  run(c, plan);
  cvm_plan_free(plan);
  return 0;
}

// Mostly one word of the plan: as bytes alone they would nearly all be out of range.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  const size_t words = words_of(data, size);
  if (words == 0 || seed % 8 == 0) return LLVMFuzzerMutate(data, size, most);
  uint8_t* at = data + 4 + 8 * (seed / 64 % words);
  int64_t value = read<int64_t>(at);
  switch (seed / 8 % 4) {
    case 0: value = kEdges[seed / 7 % (sizeof kEdges / sizeof *kEdges)]; break;
    case 1: value = (int64_t)((uint64_t)value + seed / 5 % 17 - 8); break;
    case 2: value = read<int64_t>(data + 4 + 8 * (seed / 9 % words)); break;
    default: LLVMFuzzerMutate((uint8_t*)&value, 8, 8);
  }
  std::memcpy(at, &value, 8);
  return size;
}
