// Logits of a tile that are kept from forward to backward: as they are, or packed into 16 bits, which for bf16 will do.
//
// Packed logits are fixed-point numbers: 65,535 codes, spread evenly over the range of the tile, and one for -inf. They
// are off by up to the range / 131,068, and their weights exp(S - lse) by as large a share of themselves. (bf16, off by
// up to 2^-9 |S|, would take more of the gradient's exactness at low temperatures than a loss has left.)
#pragma once

#include <cstdint>

namespace sslfast::cpu {

// Brings back so many kept logits, shared out among the threads.
void copy_logits(const float* kept, int64_t count, float* logits, int threads);
void copy_logits(const double* kept, int64_t count, double* logits, int threads);

// How many 16-bit numbers so many logits of a tile are packed into: before the codes stand two floats.
constexpr int64_t packed_size(int64_t count) { return count + 4; }

void pack_logits(const float* logits, int64_t count, uint16_t* kept, int threads);
// False where the range was too wide, or a logit was NaN or inf: nothing was kept then, and the logits are as they
// were.
bool unpack_logits(const uint16_t* kept, int64_t count, float* logits, int threads);

}  // namespace sslfast::cpu
