// How the bindings over token ids read what a masked token becomes.
#pragma once

#include "arrays.h"
#include "sslfast/token_replacement.h"

namespace sslfast::host {

template <typename Id>
TokenReplacement<Id> read_replacement(int64_t mask_token_id, int64_t vocab_size, double mask_replace_prob,
                                      double random_replace_prob, const std::optional<Array<int64_t>>& random_ids) {
  TokenReplacement<Id> p{};
  p.mask_threshold = probability_threshold(mask_replace_prob);
  p.random_threshold = p.mask_threshold + probability_threshold(random_replace_prob);
  p.mask_token_id = static_cast<Id>(mask_token_id);
  p.random_ids = random_ids ? random_ids->data() : nullptr;
  p.random_count = static_cast<uint64_t>(random_ids ? random_ids->size() : vocab_size);
  return p;
}

}  // namespace sslfast::host
