// Rows by their labels, which may be any numbers.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "sslfast/labelled_rows.h"

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

// Of every row the columns of its label in their order, and how many of these are its positives: its own is none.
class LabelLists {
 public:
  template <typename T>
  explicit LabelLists(const LabelledRows<T>& p) : of_rows_(p.rows), columns_(p.columns()) {
    LabelNumbers numbers(p.columns());
    std::vector<int32_t> of_columns(p.columns());
    for (int64_t j = 0; j < p.columns(); ++j) of_columns[j] = numbers.add(p.column_labels()[j]);
    ends_.assign(numbers.size() + 1, 0);
    for (const int32_t c : of_columns) ++ends_[c + 1];
    for (size_t c = 1; c < ends_.size(); ++c) ends_[c] += ends_[c - 1];
    std::vector<int32_t> next(ends_.begin(), ends_.end() - 1);
    for (int64_t j = 0; j < p.columns(); ++j) columns_[next[of_columns[j]]++] = static_cast<int32_t>(j);
    for (int64_t i = 0; i < p.rows; ++i) {
      Row& row = of_rows_[i];
      row.number = p.among() ? of_columns[i] : numbers.find(p.labels[i]);
      row.own = static_cast<int32_t>(p.own(i));
      const bool other = row.own >= 0, same = other && of_columns[row.own] == row.number;
      const int64_t size = row.number < 0 ? 0 : ends_[row.number + 1] - ends_[row.number];
      row.positives = static_cast<int32_t>(size - same);
      row.negatives = static_cast<int32_t>(p.columns() - size - (other && !same));
      pairs_ += row.positives;
      far_pairs_ += row.negatives;
      anchors_ += row.positives > 0;
    }
  }

  // Calls visit(k, j) for the k-th positive j of a row.
  template <typename Visit>
  void each(int64_t row, Visit visit) const {
    const Row& of = of_rows_[row];
    if (of.number < 0) return;
    int64_t k = 0;
    for (int32_t at = ends_[of.number]; at < ends_[of.number + 1]; ++at) {
      if (columns_[at] != of.own) visit(k++, columns_[at]);
    }
  }
  int64_t positives(int64_t row) const { return of_rows_[row].positives; }
  int64_t negatives(int64_t row) const { return of_rows_[row].negatives; }
  // How many pairs of a row and a column have one label, how many have two, and how many rows are in one of the first.
  int64_t pairs() const { return pairs_; }
  int64_t far_pairs() const { return far_pairs_; }
  int64_t anchors() const { return anchors_; }

 private:
  struct Row {
    int32_t number, own, positives, negatives;  // number: of its label, -1 where no column has it
  };

  std::vector<Row> of_rows_;
  std::vector<int32_t> columns_, ends_;
  int64_t pairs_ = 0, far_pairs_ = 0, anchors_ = 0;
};

// One pair in so many, or fewer, costs less from its two rows, which is more precise, than a product of all rows.
constexpr int64_t kFewPairs = 8;

}  // namespace sslfast::cpu
