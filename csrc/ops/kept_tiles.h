// The tiles of logits that forward keeps for backward: the first ones, as many as there is room for. Both passes visit
// all tiles in the same order.
#pragma once

#include <type_traits>

#include "matrix.h"
#include "sslfast/kept_logits.h"

namespace sslfast::ops {

inline void check_keep(int64_t keep, bool packed, const Tensor& rows, const Tensor& columns) {
  check(!packed || rows.scalar_type() == ScalarType::BFloat16, "sslfast: packed logits go with bfloat16");
  const int64_t most = rows.size(0) * columns.size(0);
  check(keep >= 0 && keep <= most * (packed ? cpu::packed_size(1) : 1),
        "sslfast: keep must be in [0, N M], or [0, 5 N M] of packed logits");
}

inline void check_kept(const Tensor& kept, const Tensor& rows, bool labelled) {
  const ScalarType type = kept.scalar_type(), side = rows.scalar_type();
  const bool packed = type == ScalarType::Short && side == ScalarType::BFloat16 && !labelled;
  check(kept.is_cpu() && kept.dim() == 1 && kept.is_contiguous() &&
            (packed || type == (side == ScalarType::Double ? ScalarType::Double : ScalarType::Float)),
        "sslfast: kept logits must be a vector, float64 for float64 rows, else float32, or int16 for bfloat16 rows "
        "without labels");
}

// Room for `keep` numbers: logits of type T, or of 16 bits if they are packed.
template <typename T>
Tensor empty_kept(int64_t keep, bool packed, const Tensor& like) {
  Tensor kept = empty({keep}, packed ? ScalarType::Short : kType<T>, like);
  cpu::advise_huge_pages(kept.mutable_data_ptr(), keep * static_cast<int64_t>(packed ? sizeof(uint16_t) : sizeof(T)));
  return kept;
}

template <typename T>
class KeptTiles {
 public:
  KeptTiles(const Tensor& kept, int threads)
      : numbers_(kept.mutable_data_ptr()),
        size_(kept.size(0)),
        packed_(kept.scalar_type() == ScalarType::Short),
        threads_(threads) {}

  // Where forward is to make the next tile, of so many logits: at its place, or in the scratch.
  T* room(int64_t count, T* scratch) const { return !packed_ && fits(count) ? whole() : scratch; }

  // Takes what forward made there.
  void keep(const T* logits, int64_t count) {
    if constexpr (std::is_same_v<T, float>) {
      if (packed_ && fits(count)) cpu::pack_logits(logits, count, codes(), threads_);
    }
    skip(count);
  }

  // Gives backward the next tile, or returns false: it is to be made again.
  bool bring_back(int64_t count, T* logits) {
    bool found = fits(count);
    if (found && !packed_) cpu::copy_logits(whole(), count, logits, threads_);
    if constexpr (std::is_same_v<T, float>) {
      if (found && packed_) found = cpu::unpack_logits(codes(), count, logits, threads_);
    }
    skip(count);
    return found;
  }

  // Passes over the next tile, for which there is nothing to do.
  void skip(int64_t count) { place_ += size_of(count); }

 private:
  int64_t size_of(int64_t count) const { return packed_ ? cpu::packed_size(count) : count; }
  bool fits(int64_t count) const { return place_ + size_of(count) <= size_; }
  T* whole() const { return static_cast<T*>(numbers_) + place_; }
  uint16_t* codes() const { return static_cast<uint16_t*>(numbers_) + place_; }

  void* numbers_;
  int64_t size_, place_ = 0;
  bool packed_;
  int threads_;
};

}  // namespace sslfast::ops
