// Philox4x32-10, the one source of random bits in sslfast (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). Counter based: a draw is a pure function of (seed, stream, row, element), so it does not
// depend on batch size, thread count, device or on what was drawn before. CPU, CUDA and the NumPy face compile
// this header; kernels/philox.py is the same function in Triton.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define SSLFAST_HD __host__ __device__ __forceinline__
#else
#define SSLFAST_HD inline __attribute__((always_inline))
#endif

namespace sslfast {

// One number per independent use of random bits. sslfast/random.py repeats this list; tests compare the two.
enum class Stream : uint32_t {
  kWords = 0,              // sslfast.random.philox_words
  kTokenSelect = 1,        // token_mask: is this token masked?
  kTokenReplace = 2,       // token_mask: by what?
  kPatchOrder = 3,         // patch_mask: sort keys of a row
  kImageAugment = 4,       // image_augment: parameters of one view
  kStep = 5,               // step_seed: the seed of one step
  kWordSelect = 10,        // whole_word_mask: is the word that begins here masked?
  kWordReplace = 11,       // whole_word_mask: by what?
  kSpanCorruption = 20,    // span_corruption: where spans begin and end
  kTextSpan = 22,          // text_span_mask: where spans begin and how long they are
  kTextSpanReplace = 23,   // text_span_mask: by what?
  kPermutationSpan = 24,   // permutation_mask: how long spans are, and where in their contexts
  kPermutationOrder = 25,  // permutation_mask: sort keys of a row
  kItemSelect = 26,        // item_mask: is this item masked?
  kItemRow = 27,           // item_mask: what goes for the row
  kGumbel = 28,            // gumbel_sample: the noise of each id
  kItemNegatives = 29,     // item_negatives: which items
  kBatchMix = 40,          // batch_mix: how an image is mixed
  kMixOrder = 41,          // batch_mix: a shuffle of the batch
  kErase = 42,             // random_erase: the box of an image
  kEraseNoise = 43,        // random_erase: noise in the box
  kGridCells = 50,         // cell_mask: sort keys of coarse squares
  kTubeCells = 51,         // cell_mask: of tubes
  kFrameCells = 52,        // cell_mask: of frames
  kBlock = 53,             // block_mask: size and place of one block
  kBlockRest = 54,         // block_mask: sort keys of the patches that complete a mask
  kBlockShift = 55,        // block_mask: circular shift of a row
  kInverseBlock = 56,      // inverse_block_mask: size, place and shift of the kept block
  kDinoOrder = 57,         // dino_mask: sort keys of the rows of one batch
  kDinoRatio = 58,         // dino_mask: mask ratio of one row
  kJepaSize = 59,          // jepa_mask: sizes of the blocks of one batch
  kJepaPlace = 60,         // jepa_mask: places of the blocks of one row
  kJepaKeep = 61,          // jepa_mask: sort keys of the tokens of one row
  kBlockTarget = 62,       // block_mask: is the row masked, and how many patches?
  kSquare = 63,            // square_mask: centres of squares
  kSquareRest = 64,        // square_mask: sort keys of the patches that complete or thin a mask
  kTimeSpanLength = 65,    // fairseq_span_mask: lengths of a row's spans
  kVJepaSize = 66,         // jepa_mask: sizes of the blocks of one batch of V-JEPA
  kVJepaPlace = 67,        // jepa_mask: places of the blocks of one row of V-JEPA
  kVJepaKeep = 68,         // jepa_mask: sort keys of the tokens of one row of V-JEPA
  kTimeSpanStart = 70,     // time_span_mask: starts of a row's spans
  kTimeSpanCount = 71,     // time_span_mask: is a row's number of spans rounded up?
  kTimeSpanBatch = 72,     // time_span_mask: the same, once for a batch
  kTimeSpanTrim = 73,      // fairseq_span_mask: frames that make the counts equal
  kTimeSpanDropout = 74,   // fairseq_span_mask: holes
  kNegatives = 75,         // negative_indices: which frames
  kSpecAugment = 76,       // spec_augment: intervals of a spectrogram
  kFeatureSelect = 77,     // feature_corruption: is this feature corrupted?
  kFeatureSource = 78,     // feature_corruption: by that of which row?
  kFeatureOrder = 79,      // feature_corruption: a shuffle of a column
  kNodeOrder = 80,         // mask_nodes: shuffles of the nodes
  kEdgeDrop = 81,          // drop_edges: is this edge dropped?
  kAugmentToken = 110,     // token_augment: is this token chosen, and where does it move?
  kAugmentPlace = 111,     // token_augment: places of swaps and spans, and entries of the table
  kAugmentRow = 112,       // token_augment: what goes for the row
  kFeatureNoise = 113,     // feature_noise: the noise of each cell
  kNoiseSelect = 114,      // feature_noise: does this cell get any?
  kAudioAugment = 115,     // audio_augment: parameters of one waveform
  kAudioNoise = 116,       // audio_augment: white noise, of one channel
  kFrames = 117,           // frame_indices: which frames
  kGanInterpolate = 130,   // gradient_penalty: where between a real and a made sample
  kAttackStart = 131,      // AdversarialPerturbation: where in the ball a sample starts
  kTriplet = 132,          // triplet_loss: the positives and negatives of an anchor
};

struct Words {
  uint32_t word[4];
};

// Counter = (element, row low, row high, stream), key = (seed low, seed high).
SSLFAST_HD Words philox(uint64_t seed, uint32_t stream, uint64_t row, uint32_t element) {
  uint32_t c0 = element, c1 = static_cast<uint32_t>(row), c2 = static_cast<uint32_t>(row >> 32), c3 = stream;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    const uint64_t product1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(product1);
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(product0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

SSLFAST_HD Words philox(uint64_t seed, Stream stream, uint64_t row, uint32_t element) {
  return philox(seed, static_cast<uint32_t>(stream), row, element);
}

// The event "word < threshold" has probability p when threshold = probability_threshold(p): an integer compare,
// so every backend decides alike, and p = 1 (threshold 2^32) is always true.
inline uint64_t probability_threshold(double p) { return static_cast<uint64_t>(p * 4294967296.0 + 0.5); }

// Uniform integer in [0, n), n <= 2^32, by multiply and shift: each value's probability is within 2^-32 of 1/n.
SSLFAST_HD uint32_t uniform_below(uint32_t word, uint64_t n) {
  return static_cast<uint32_t>((static_cast<uint64_t>(word) * n) >> 32);
}

}  // namespace sslfast
