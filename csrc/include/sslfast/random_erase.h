#pragma once

#include "sslfast/image_lines.h"
#include "sslfast/launch.h"

namespace sslfast {

// The box that is erased in an image, 0 high where none is, and the key of its noise in two halves of 24 bits, which a
// float holds exactly.
enum EraseColumn { kEraseTop, kEraseLeft, kEraseHeight, kEraseWidth, kEraseKeyHigh, kEraseKeyLow, kEraseColumns };

constexpr int64_t kMostEraseValues = 64;

struct EraseDraw {
  Seed seed;
  Rows row_ids;
  uint64_t threshold;  // erased: word below this
  int64_t height, width;
  double scale_low, scale_high, log_ratio_low, log_ratio_high;
};

struct RandomEraseParams {
  EraseDraw draw;
  int64_t rows;
  float* out;  // (rows, kEraseColumns)
};

// out = x, in the box of each image one value per channel, or normal noise. Reads what stays and writes each element
// once; with x == out, in place, boxes are written and nothing is read.
struct RandomErase {
  EraseDraw draw;
  bool drawn;     // params are given; else they are drawn, and stored
  float* params;  // (rows, kEraseColumns)
  ImageLines from, to;
  const void* x;
  void* out;
  bool bytes;   // elements are uint8, and noise is not asked for
  Dtype dtype;  // of others
  bool noise;
  double values[kMostEraseValues];  // one per channel, or of all
  int64_t value_count;
};

namespace cpu {
void random_erase_params(const RandomEraseParams& p, int threads);
void random_erase(const RandomErase& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t random_erase_params(const RandomEraseParams& p, cudaStream_t stream);
cudaError_t random_erase(const RandomErase& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
