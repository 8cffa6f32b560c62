// Copies of whole rows. The sum for any ids first lists, place by place, the rows of the gradient that belong there (a
// counting sort of the row's ids); where one belongs there it is copied, where several do they are added in order.
#include "sslfast/patch_gather.h"

#include <vector>

#include "copy_rows.h"
#include "row_arithmetic.h"

namespace sslfast::cpu {
namespace {

// One thread's working space.
template <typename Element>
struct Entries {
  int64_t row = -1;             // of x, that is listed
  std::vector<int64_t> begins;  // (patches + 1): where a place's entries begin
  std::vector<int64_t> listed;  // (copies * keep): copy * keep + k
  std::vector<Wide<Element>> sums;
  std::vector<Element> rounded;

  explicit Entries(const PatchSum& p)
      : begins(p.patches + 2), listed(p.rows / p.x_rows * p.keep), sums(p.width), rounded(p.width) {}

  void list(const PatchSum& p, int64_t n) {
    row = n;
    const int64_t copies = p.rows / p.x_rows;
    const auto id = [&](int64_t copy, int64_t k) { return p.ids[(copy * p.x_rows + n) * p.keep + k]; };
    std::fill(begins.begin(), begins.end(), int64_t{0});
    for (int64_t copy = 0; copy < copies; ++copy) {
      for (int64_t k = 0; k < p.keep; ++k) begins[id(copy, k) + 2] += id(copy, k) >= 0;
    }
    for (int64_t l = 0; l < p.patches; ++l) begins[l + 2] += begins[l + 1];
    for (int64_t copy = 0; copy < copies; ++copy) {  // what was the end of the place before becomes its own
      for (int64_t k = 0; k < p.keep; ++k) {
        if (id(copy, k) >= 0) listed[begins[id(copy, k) + 1]++] = copy * p.keep + k;
      }
    }
  }
};

template <typename Element>
void sum_rows(const PatchSum& p, int threads) {
  const auto* grad = static_cast<const Element*>(p.grad);
  std::vector<Entries<Element>> entries(threads, Entries<Element>(p));
  const auto source = [&](int64_t i) -> SourceRow<Element> {
    Entries<Element>& e = entries[omp_get_thread_num()];
    const int64_t n = i / p.patches, l = i % p.patches;
    if (e.row != n) e.list(p, n);
    const int64_t begin = e.begins[l], end = e.begins[l + 1];
    const auto row_of = [&](int64_t entry) {
      const int64_t copy = e.listed[entry] / p.keep, k = e.listed[entry] % p.keep;
      return grad + (copy * p.x_rows + n) * p.grad_row_stride + k * p.grad_patch_stride;
    };
    if (begin == end) return {nullptr, 1};
    if (end - begin == 1) return {row_of(begin), 1};
    std::fill(e.sums.begin(), e.sums.end(), Wide<Element>{0});
    for (int64_t entry = begin; entry < end; ++entry) accumulate_row(row_of(entry), p.width, e.sums.data());
    convert_row(e.sums.data(), p.width, e.rounded.data());
    return {e.rounded.data(), 1};
  };
  write_rows<Element>(p.out, p.x_rows * p.patches, p.width, threads, source, p.patches);
}

}  // namespace

bool patch_ids_in_range(const int64_t* ids, int64_t count, int64_t patches) {
  uint64_t largest = 0;  // of id + 1: below -1 it is a large one
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, static_cast<uint64_t>(ids[i]) + 1);
  return largest <= static_cast<uint64_t>(patches);
}

void patch_gather(const PatchGather& p, int threads) {
  by_element_size(p.element_size, [&](auto element) {
    using Element = decltype(element);
    write_rows<Element>(p.out, p.rows * p.keep, p.width, threads, [&](int64_t i) -> SourceRow<Element> {
      if (p.ids[i] < 0) return {nullptr, 1};
      const Element* row = static_cast<const Element*>(p.x) + i / p.keep % p.x_rows * p.x_row_stride;
      return {row + p.ids[i] * p.x_patch_stride, p.x_stride};
    });
  });
}

void patch_scatter(const PatchScatter& p, int threads) {
  by_element_size(p.element_size, [&](auto element) {
    using Element = decltype(element);
    write_rows<Element>(p.out, p.rows * p.patches, p.width, threads, [&](int64_t i) -> SourceRow<Element> {
      const int64_t place = p.ids_restore[i];
      if (place >= p.keep) return {nullptr, 1};
      const Element* row = static_cast<const Element*>(p.grad) + i / p.patches * p.grad_row_stride;
      return {row + place * p.grad_patch_stride, p.grad_stride};
    });
  });
}

void patch_sum(const PatchSum& p, int threads) {
  if (p.x_rows == 0) return;
  by_dtype(p.dtype, [&](auto element) { sum_rows<decltype(element)>(p, threads); });
}

}  // namespace sslfast::cpu
