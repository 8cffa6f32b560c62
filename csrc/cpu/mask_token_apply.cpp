// Copies of whole rows, the mask token's among them. The backward adds up the masked rows of every kMaskTokenRows rows,
// in order, and then those sums, in double: the same bits for any number of threads.
#include "sslfast/mask_token_apply.h"

#include <vector>

#include "copy_rows.h"
#include "row_arithmetic.h"

namespace sslfast::cpu {
namespace {

template <typename Element>
void apply_backward(const MaskTokenApplyBackward& p, int threads) {
  using Sum = Wide<Element>;
  const int64_t rows = p.rows * p.length, chunks = (rows + kMaskTokenRows - 1) / kMaskTokenRows;
  auto* total = static_cast<Sum*>(p.mask_token);
  std::vector<Sum> sums(total ? chunks * p.width : 0, Sum{0});
  const auto source = [&](int64_t i) -> SourceRow<Element> {
    const int64_t n = i / p.length, l = i % p.length;
    const bool masked = p.mask[n * p.mask_row_stride + l * p.mask_stride];
    if (masked && !total) return {nullptr, 1};
    const Element* row = static_cast<const Element*>(p.grad) + n * p.row_stride + l * p.token_stride;
    if (!masked) return {row, 1};
    accumulate_row(row, p.width, sums.data() + i / kMaskTokenRows * p.width);
    return {nullptr, 1};
  };
  if (p.x) {
    write_rows<Element>(p.x, rows, p.width, threads, source, kMaskTokenRows);
  } else {
    threads = team(rows * p.width * sizeof(Element), kBytesPerThread, threads);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t c = 0; c < chunks; ++c) {
      for (int64_t i = c * kMaskTokenRows; i < std::min(rows, (c + 1) * kMaskTokenRows); ++i) source(i);
    }
  }
  if (!total) return;
  std::vector<double> all(p.width, 0.0);
  for (int64_t c = 0; c < chunks; ++c) accumulate_row(sums.data() + c * p.width, p.width, all.data());
  convert_row(all.data(), p.width, total);
}

}  // namespace

void mask_token_apply(const MaskTokenApply& p, int threads) {
  by_element_size(p.element_size, [&](auto element) {
    using Element = decltype(element);
    write_rows<Element>(p.out, p.rows * p.length, p.width, threads, [&](int64_t i) -> SourceRow<Element> {
      const int64_t n = i / p.length, l = i % p.length;
      if (p.mask[n * p.mask_row_stride + l * p.mask_stride]) return {static_cast<const Element*>(p.mask_token), 1};
      return {static_cast<const Element*>(p.x) + n * p.x_row_stride + l * p.x_token_stride, p.x_stride};
    });
  });
}

void mask_token_apply_backward(const MaskTokenApplyBackward& p, int threads) {
  by_dtype(p.dtype, [&](auto element) { apply_backward<decltype(element)>(p, threads); });
}

}  // namespace sslfast::cpu
