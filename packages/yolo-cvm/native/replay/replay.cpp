// Runs plans that were dumped on another machine and compares every output: how an instruction set
// or byte order that this machine lacks is held to the reference, under an emulator.
//
//     replay FILE...      each written by dump.py: little-endian 64-bit words
//
// Exit code 0 when all outputs are equal on every instruction set found, 1 when one differs.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "../abi.h"

namespace {

std::vector<int64_t> read_words(const char* path) {
  std::vector<int64_t> words;
  std::FILE* f = std::fopen(path, "rb");
  if (!f) return words;
  unsigned char b[8];
  while (std::fread(b, 1, 8, f) == 8) {
    uint64_t w = 0;
    for (int i = 7; i >= 0; --i) w = w << 8 | b[i];
    words.push_back((int64_t)w);
  }
  std::fclose(f);
  return words;
}

// A list in the file: its length, then its values.
template <class T>
std::vector<T> take(const int64_t*& at) {
  std::vector<T> values((size_t)*at++);
  for (T& v : values) v = (T)*at++;
  return values;
}

struct Constant {
  bool bytes;
  std::vector<int8_t> narrow;
  std::vector<int32_t> wide;
};

bool replay(const char* path, const char* name) {
  const std::vector<int64_t> file = read_words(path);
  if (file.empty()) return false;
  const int64_t* at = file.data();
  const std::vector<int64_t> words = take<int64_t>(at);
  std::vector<Constant> constants((size_t)*at++);
  for (Constant& c : constants) {
    c.bytes = *at++ == 1;
    if (c.bytes) {
      c.narrow = take<int8_t>(at);
    } else {
      c.wide = take<int32_t>(at);
    }
  }
  const std::vector<int32_t> input = take<int32_t>(at);
  std::vector<std::vector<int32_t>> expected((size_t)*at++);
  for (auto& e : expected) e = take<int32_t>(at);

  std::vector<const void*> pointers;
  std::vector<int64_t> counts;
  for (const Constant& c : constants) {
    pointers.push_back(c.bytes ? (const void*)c.narrow.data() : c.wide.data());
    counts.push_back((int64_t)(c.bytes ? c.narrow.size() : c.wide.size()));
  }
  void *plan = nullptr, *execution = nullptr;
  if (cvm_plan_new(words.data(), (int64_t)words.size(), pointers.data(), counts.data(), name,
                   &plan) ||
      cvm_execution_new(plan, 2, &execution)) {
    std::printf("%s: %s\n", path, cvm_message());
    return false;
  }
  std::vector<std::vector<int32_t>> outputs;
  std::vector<int32_t*> targets;
  for (const auto& e : expected) outputs.emplace_back(e.size(), 12345);
  for (auto& o : outputs) targets.push_back(o.data());
  cvm_begin(execution, input.data(), targets.data(), INT32_MAX);
  const int64_t all = INT64_MAX;
  int64_t last = -1;
  for (int64_t next = 0; next != last;) {
    last = next;
    next = cvm_advance(execution, all, 1e9);
  }
  cvm_execution_free(execution);
  cvm_plan_free(plan);
  return outputs == expected;
}

}  // namespace

int main(int argc, char** argv) {
  std::string sets = cvm_instruction_sets();
  int wrong = 0;
  for (size_t begin = 0; begin < sets.size();) {
    const size_t end = sets.find(' ', begin);
    const std::string name = sets.substr(begin, end - begin);
    int equal = 0;
    for (int i = 1; i < argc; ++i) {
      if (replay(argv[i], name.c_str())) {
        ++equal;
      } else {
        ++wrong;
        std::printf("%s differs on %s\n", argv[i], name.c_str());
      }
    }
    std::printf("%s: %d of %d equal\n", name.c_str(), equal, argc - 1);
    begin = end == std::string::npos ? sets.size() : end + 1;
  }
  return wrong ? 1 : 0;
}
