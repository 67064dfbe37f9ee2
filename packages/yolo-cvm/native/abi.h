// The C functions of the compiled library: Python, the browser and the tools that drive it from C++
// call these and nothing else. Sizes are checked when a plan is made; no exception crosses.
#pragma once
#include <stdint.h>

#if defined(_WIN32)
#define CVM_API extern "C" __declspec(dllexport)
#else
#define CVM_API extern "C" __attribute__((visibility("default")))
#endif

// Why the last call of this thread failed. Calls that return int return 0 where they succeeded, 1
// where the arguments were refused, 2 where memory ran out.
CVM_API const char* cvm_message();
// Names of the instruction sets that this machine runs, best first, separated by spaces.
CVM_API const char* cvm_instruction_sets();

// Which table of the format the library was compiled with.
CVM_API int64_t cvm_format();

// Checks a plan (engine/format.py) word by word and makes it ready. constants[i] holds
// constant_counts[i] elements and must stay; an empty instruction_set asks for the best.
CVM_API int cvm_plan_new(const int64_t* words, int64_t count, const void* const* constants,
                         const int64_t* constant_counts, const char* instruction_set,
                         void** plan);
CVM_API void cvm_plan_free(void* plan);
CVM_API const char* cvm_plan_instruction_set(const void* plan);

// The working memory and the threads of one run at a time.
CVM_API int cvm_execution_new(const void* plan, int threads, void** execution);
CVM_API void cvm_execution_free(void* execution);

// Sets the buffers of a run; they must stay until it is complete. Returns 0 where some of the input
// lies beyond [-bound, bound]; where the first step looks for that, cvm_advance tells it.
CVM_API int cvm_begin(void* execution, const int32_t* input, int32_t* const* outputs,
                      int32_t bound);

// Runs steps until all are done, `stop` is reached, or `seconds` have passed; returns the next step,
// -1 where the input lies beyond its bound: then no result is there, and none will be.
// Long steps are left in between and go on in the next call.
CVM_API int64_t cvm_advance(void* execution, int64_t stop, double seconds);

// Address of a tensor in the arena while its value lives.
CVM_API const void* cvm_address(const void* execution, int64_t tensor);

// Whether convolutions multiply (1) or only run their epilogues on whatever is there (0).
CVM_API void cvm_products(void* execution, int on);

// Seconds that each step has taken so far.
CVM_API const double* cvm_seconds(const void* execution);

// Bilinear resize of bytes [height][width][3] to [rows][columns][3], as yolo_core.yolo.letterbox
// defines it. row_taps: [4][rows], column_taps: [4][columns]: first and second index, their weights.
CVM_API int cvm_resize(const uint8_t* image, int64_t height, int64_t width,
                       const int32_t* row_taps, int64_t rows, const int32_t* column_taps,
                       int64_t columns, uint8_t* out, const char* instruction_set);

// Multiply-accumulates of a loop that only multiplies, for the measured ceiling; -1 if unknown.
CVM_API int64_t cvm_ceiling(const char* instruction_set, int64_t rounds);

// 2 * count lower-case digits of count bytes; 8 * count of count integers, each with its highest
// byte first. Every instruction set gives the same.
CVM_API void cvm_hex(const uint8_t* bytes, int64_t count, uint8_t* digits,
                     const char* instruction_set);
CVM_API void cvm_hex_words(const int32_t* words, int64_t count, uint8_t* digits,
                           const char* instruction_set);
// The count bytes of 2 * count digits of either case; 1, and any bytes, where one is no digit.
CVM_API int cvm_unhex(const uint8_t* digits, int64_t count, uint8_t* bytes,
                      const char* instruction_set);
