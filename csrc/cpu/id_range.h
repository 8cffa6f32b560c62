// Ids outside of the vocabulary, found by the pass that reads them anyway: two operations an id, which vectorise.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace sslfast::cpu {

// `before`, made negative by an id outside [0, last].
template <typename Id>
Id strayed(Id before, Id id, Id last) {
  using Bits = std::make_unsigned_t<Id>;
  const auto behind = static_cast<Id>(static_cast<Bits>(static_cast<Bits>(last) - static_cast<Bits>(id)));
  return static_cast<Id>(before | id | behind);
}

// Throws the first id of a rule that is outside [0, p.last_id]; called once an id has strayed. Where ids are not looked
// at, last_id is negative.
template <typename Params>
void refuse_ids(const char* function, const Params& p) {
  if (p.last_id < 0) return;
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t t = 0; t < p.length; ++t) {
      const int64_t id = p.ids[r * p.ids_row_stride + t * p.ids_stride];
      if (id >= 0 && id <= p.last_id) continue;
      throw std::invalid_argument(std::string(function) + ": ids must be in [0, " + std::to_string(p.last_id) +
                                  "], got " + std::to_string(id));
    }
  }
}

}  // namespace sslfast::cpu
