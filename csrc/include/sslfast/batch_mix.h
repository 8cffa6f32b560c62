#pragma once

#include "sslfast/image_lines.h"
#include "sslfast/launch.h"

namespace sslfast {

// How one image of a batch is mixed with another: a row of floats, whose columns sslfast.augment.MIX_PARAMS names.
enum MixColumn { kMixKind, kMixPartner, kMixLambda, kMixTop, kMixLeft, kMixHeight, kMixWidth, kMixColumns };

// kBlend: lambda of the image and 1 - lambda of its partner. kBox: the box is the partner's.
enum class MixKind : int32_t { kNone, kBlend, kBox };

enum class MixMode : int64_t { kBatch, kPair, kElement };    // who shares a draw: all, i and N - 1 - i, nobody
enum class MixPartner : int64_t { kRoll, kFlip, kShuffle };  // i - 1, N - 1 - i, in a random order
enum class MixBox : int64_t { kHalves, kWhole, kSides };     // torchvision's box, timm's, and sides drawn by themselves

struct BatchMixParams {
  Seed seed;
  Rows row_ids;
  int64_t rows, height, width;
  MixMode mode;
  MixPartner partner;
  double blend_alpha, box_alpha;  // of the symmetric Beta that lambda has; 0: never
  uint64_t mix_threshold;         // mixed: word below this
  uint64_t box_threshold;         // by a box where both are possible: word below this
  MixBox box;
  double side_low, side_high;  // shares of the sides, for kSides
  bool area_lambda;            // lambda of a box is the share that is left
  float* out;                  // (rows, kMixColumns)
};

// out = x mixed as params say. Reads each element of x once from memory and again from the cache, writes it once. With
// x == out, in place: the partners have to be a permutation, and boxes alone are touched. Blends of bytes
// are rounded to the nearest one.
struct BatchMix {
  ImageLines from, to;  // of equal size, planes and unit
  const void* x;
  void* out;
  bool bytes;           // elements are uint8
  Dtype dtype;          // else
  const float* params;  // (rows, kMixColumns); partners are clipped to the batch
};

constexpr int64_t kMostRowsInPlace = 8192;

// The adjoint: what the gradient of out becomes for x. users lists who has each row for a partner: those of row i are
// users[starts[i]] to users[starts[i + 1]].
struct BatchMixBackward {
  BatchMix mix;           // x: the gradient
  const int64_t* users;   // (rows)
  const int64_t* starts;  // (rows + 1)
};

// Soft targets (rows, classes) of class ids: lambda of the image's own class, 1 - lambda of its partner's, with
// label_smoothing spread over all. A row whose own or partner's id is no class is NaN.
struct MixTargets {
  const int64_t* labels;  // (rows)
  const float* params;    // (rows, kMixColumns)
  int64_t rows, classes;
  float on, off;  // what goes to the class, and to all of them
  float* out;     // (rows, classes)
};

namespace cpu {
void batch_mix_params(const BatchMixParams& p, int threads);
bool batch_mix(const BatchMix& p, int threads);  // false: in place and no permutation, nothing is done
void batch_mix_backward(const BatchMixBackward& p, int threads);
bool mix_targets(const MixTargets& p, int threads);  // whether all ids are classes
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t batch_mix_params(const BatchMixParams& p, cudaStream_t stream);
cudaError_t batch_mix(const BatchMix& p, cudaStream_t stream);
cudaError_t batch_mix_backward(const BatchMixBackward& p, cudaStream_t stream);
cudaError_t mix_targets(const MixTargets& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
