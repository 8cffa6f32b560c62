#pragma once

#include "sslfast/token_mask.h"

namespace sslfast {

// Whole-word masking of ids (rows, length): a word is masked as one. Words are given by the number of each token's
// word, negative outside of words, or by the two ends of each token in the text (offsets); strides in elements.
// `counts` and `forced` are as in TokenMask, with a word in the place of a token. With `budgets` no word is selected by
// its own draw: in the order of these draws each word is masked that fits into what is left of its row's tokens.
template <typename Id>
struct WholeWordMask : TokenMask<Id> {
  const int64_t* words;  // (rows, length), or (rows, length, 2) where `offsets`
  int64_t words_row_stride, words_stride, end_stride;
  bool offsets;
  bool replace_words;      // whether [MASK], a random id or the same id comes is drawn for a word, not for each token
  const int64_t* budgets;  // (rows), or null: tokens of a row that may be masked; `forced` is null then
};

namespace cpu {
void whole_word_mask(const WholeWordMask<int16_t>& p, int threads);
void whole_word_mask(const WholeWordMask<int32_t>& p, int threads);
void whole_word_mask(const WholeWordMask<int64_t>& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t whole_word_mask(const WholeWordMask<int16_t>& p, cudaStream_t stream);
cudaError_t whole_word_mask(const WholeWordMask<int32_t>& p, cudaStream_t stream);
cudaError_t whole_word_mask(const WholeWordMask<int64_t>& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
