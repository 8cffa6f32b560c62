#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

constexpr int64_t kMostLayers = 48;

// Layers of a teacher, each (samples, length, width), within a token contiguous.
struct Layers {
  const void* data[kMostLayers];
  int64_t sample_stride[kMostLayers], token_stride[kMostLayers];
  int64_t count, samples, length, width;
  Dtype dtype;
};

// out[r] = the mean over layers of the token at ids[r], a flat position among (samples, length), -1 for zeros: each
// standardised by itself (layer_norm), or less its mean and times its scale (layers, samples, width), where there are
// any; the mean standardised again (target_norm). Sums and results are float, or double for double. Nothing but these
// tokens is read.
struct FeatureTargets {
  Layers layers;
  const int64_t* ids;  // (rows)
  int64_t rows;
  const void *means, *scales;  // of the type of sums, or null
  bool layer_norm, target_norm;
  double eps;
  void* out;  // (rows, width)
};

// Mean over the tokens of each sample, layer and feature, and 1 / sqrt(variance + eps): (layers, samples, width).
struct FeatureMoments {
  Layers layers;
  double eps;
  void *means, *scales;
};

namespace cpu {
void feature_targets(const FeatureTargets& p, int threads);
void feature_moments(const FeatureMoments& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t feature_targets(const FeatureTargets& p, cudaStream_t stream);
cudaError_t feature_moments(const FeatureMoments& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
