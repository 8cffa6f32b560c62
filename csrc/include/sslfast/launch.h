// What every launcher shares: how work is handed to a backend, and where a seed lives.
// cpu:: launchers take the number of threads, cuda:: launchers the stream, and neither sees a torch type.
#pragma once

#include <cstdint>

#include "sslfast/philox.h"

#ifdef SSLFAST_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace sslfast {

// A 64-bit seed by value, or in device memory, where a captured CUDA graph reads it anew at every replay.
struct Seed {
  const int64_t* on_device;
  uint64_t value;

  SSLFAST_HD uint64_t get() const { return on_device ? static_cast<uint64_t>(*on_device) : value; }
};

}  // namespace sslfast
