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

// The number of each row in the draws: its own, or its place behind those of the shards before. What a row draws
// depends on this number, never on the row's place in the batch.
struct Rows {
  const int64_t* sample_ids;  // (rows), or null
  int64_t offset;

  SSLFAST_HD uint64_t operator[](int64_t r) const {
    return static_cast<uint64_t>(sample_ids ? sample_ids[r] : offset + r);
  }
};

}  // namespace sslfast
