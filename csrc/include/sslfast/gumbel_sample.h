#pragma once

#include "sslfast/launch.h"
#include "sslfast/unit_rows.h"  // Brain16, Half16

namespace sslfast {

// One id a row, sampled with probability softmax(logits / temperature): the largest of logits / temperature + noise,
// Gumbel noise from a word for each (row, id). The noise is never stored. Reads each logit once. Strides in elements.
template <typename In>
struct GumbelSample {
  const In* logits;  // (rows, vocabulary)
  int64_t rows, vocabulary, row_stride, stride;
  const int64_t* positions;  // (rows), or null: rows below 0 are not read and give -1
  Seed seed;
  Rows row_ids;
  double inverse_temperature;
  int64_t* ids;  // (rows); -1 where a row has no distribution: NaN or +inf in it, or nothing but -inf
};

namespace cpu {
void gumbel_sample(const GumbelSample<float>& p, int threads);
void gumbel_sample(const GumbelSample<Brain16>& p, int threads);
void gumbel_sample(const GumbelSample<Half16>& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t gumbel_sample(const GumbelSample<float>& p, cudaStream_t stream);
cudaError_t gumbel_sample(const GumbelSample<Brain16>& p, cudaStream_t stream);
cudaError_t gumbel_sample(const GumbelSample<Half16>& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
