// The threads of the OpenMP library that MXNet has loaded: one team of threads serves both.
#pragma once
#include <stdint.h>

namespace yolo {

// Calls body(job, begin, end) so that the parts cover 0 to count, each in a thread of the team.
// The parts depend on the number of threads: results must not depend on the parts.
void for_parts(int64_t count, void (*body)(const void* job, int64_t begin, int64_t end),
               const void* job);

}  // namespace yolo
