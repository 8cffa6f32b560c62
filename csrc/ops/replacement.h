// How the operators over token ids read what a masked token becomes.
#pragma once

#include "sslfast/token_replacement.h"
#include "tensor.h"

namespace sslfast::ops {

template <typename Id>
TokenReplacement<Id> read_replacement(int64_t mask_token_id, int64_t vocab_size, double mask_replace_prob,
                                      double random_replace_prob, const std::optional<Tensor>& random_ids) {
  check(!random_ids || (random_ids->scalar_type() == ScalarType::Long && random_ids->dim() == 1 &&
                        random_ids->is_contiguous() && random_ids->numel() > 0 && here(*random_ids)),
        "sslfast: random_token_ids must be contiguous int64, at least one, on the device of the data");
  TokenReplacement<Id> p{};
  p.mask_threshold = probability_threshold(mask_replace_prob);
  p.random_threshold = p.mask_threshold + probability_threshold(random_replace_prob);
  p.mask_token_id = static_cast<Id>(mask_token_id);
  p.random_ids = random_ids ? random_ids->const_data_ptr<int64_t>() : nullptr;
  p.random_count = static_cast<uint64_t>(random_ids ? random_ids->numel() : vocab_size);
  return p;
}

}  // namespace sslfast::ops
