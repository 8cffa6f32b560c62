// Rows by their labels, which may be any numbers.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace sslfast::cpu {

// Numbers from 0 for labels, in the order of their first appearance.
class LabelNumbers {
 public:
  explicit LabelNumbers(int64_t labels)
      : bits_(std::bit_width(static_cast<uint64_t>(2 * labels))), slots_(int64_t{1} << bits_, Slot{0, -1}) {}

  int32_t find(int64_t label) const { return slots_[place(label)].number; }
  int32_t add(int64_t label) {
    Slot& slot = slots_[place(label)];
    if (slot.number < 0) slot = {label, size_++};
    return slot.number;
  }
  int32_t size() const { return size_; }

 private:
  struct Slot {
    int64_t label;
    int32_t number;
  };

  size_t place(int64_t label) const {
    size_t at = (static_cast<uint64_t>(label) * 0x9E3779B97F4A7C15u) >> (64 - bits_);
    while (slots_[at].number >= 0 && slots_[at].label != label) at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  int bits_;
  std::vector<Slot> slots_;
  int32_t size_ = 0;
};

// Of every row the rows of its label, itself among them, in their order.
class LabelLists {
 public:
  struct List {
    const int32_t *first, *last;

    const int32_t* begin() const { return first; }
    const int32_t* end() const { return last; }
    int64_t size() const { return last - first; }
  };

  LabelLists(const int64_t* labels, int64_t rows) : numbers_(rows), rows_(rows) {
    LabelNumbers numbers(rows);
    for (int64_t i = 0; i < rows; ++i) numbers_[i] = numbers.add(labels[i]);
    ends_.assign(numbers.size() + 1, 0);
    for (const int32_t c : numbers_) ++ends_[c + 1];
    for (size_t c = 1; c < ends_.size(); ++c) {
      const int64_t size = ends_[c];
      pairs_ += size * (size - 1);
      anchors_ += size > 1 ? size : 0;
      ends_[c] += ends_[c - 1];
    }
    std::vector<int32_t> next(ends_.begin(), ends_.end() - 1);
    for (int64_t i = 0; i < rows; ++i) rows_[next[numbers_[i]]++] = static_cast<int32_t>(i);
  }

  List of(int64_t row) const {
    const int32_t c = numbers_[row];
    return {rows_.data() + ends_[c], rows_.data() + ends_[c + 1]};
  }
  // How many pairs of two rows have one label, each in both directions, and how many rows are in one.
  int64_t pairs() const { return pairs_; }
  int64_t anchors() const { return anchors_; }

 private:
  std::vector<int32_t> numbers_, rows_, ends_;
  int64_t pairs_ = 0, anchors_ = 0;
};

// One pair in so many, or fewer, costs less from its two rows, which is more precise, than a product of all rows.
constexpr int64_t kFewPairs = 8;

}  // namespace sslfast::cpu
