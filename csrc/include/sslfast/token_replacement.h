// What a masked token becomes (BERT's 80 / 10 / 10), the same for every rule over token ids.
#pragma once

#include "sslfast/philox.h"

namespace sslfast {

template <typename Id>
struct TokenReplacement {
  uint64_t mask_threshold;    // kind below this: mask_token_id
  uint64_t random_threshold;  // else below this: a random id; else the id stays
  Id mask_token_id;
  const int64_t* random_ids;  // (random_count), or null: every id below random_count
  uint64_t random_count;

  SSLFAST_HD Id operator()(uint32_t kind, uint32_t word, Id id) const {
    if (kind < mask_threshold) return mask_token_id;
    if (kind >= random_threshold) return id;
    const uint32_t drawn = uniform_below(word, random_count);
    return static_cast<Id>(random_ids ? random_ids[drawn] : static_cast<int64_t>(drawn));
  }
};

}  // namespace sslfast
