// For each of N rows the nearest of K columns by cosine similarity, on the CPU: rows are normalised or widened, and so
// are the columns, a block at a time; one product makes a tile of similarities, of which csrc/cpu keeps the largest.
// FLOPs: 2 N K D. Memory: the rows, a block of columns and a tile of at most 2^18 numbers beside inputs and outputs. A
// GPU runs plain torch.
#include "sslfast/nearest_rows.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <type_traits>

#include "tile_products.h"
#include "wide_side.h"

namespace sslfast::ops {
namespace {

// Similarities of a tile, 1 MiB in float32, stay in the L2 cache of most CPUs or go through that of the next level.
constexpr int64_t kRows = 256, kCols = 1024;

// unit <- rows of z from first on, normalised.
template <typename T>
void unit_block(const Tensor& z, int64_t first, int64_t rows, T* unit, T* inverse_norm, int threads) {
  const int64_t d = z.size(1);
  const T* from = unit;
  if (z.scalar_type() == kType<T>) {
    from = z.const_data_ptr<T>() + first * d;
  } else {
    const char* bytes = static_cast<const char*>(z.const_data_ptr()) + first * d * z.element_size();
    cpu::wide_rows(bytes, read_dtype(z.scalar_type()), rows, d, d, 1, unit, threads);
  }
  cpu::unit_rows(UnitRows<T, T, T>{from, rows, d, d, unit, inverse_norm}, threads);
}

template <typename T>
std::tuple<Tensor, Tensor> run(const Tensor& rows, const Tensor& columns) {
  const int64_t n = rows.size(0), k = columns.size(0), d = rows.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int64_t height = std::min(n, kRows), width = std::min(k, kCols);
  Tensor index = empty({n}, ScalarType::Long, rows), similarity = empty({n}, kType<T>, rows);
  int64_t* at = index.mutable_data_ptr<int64_t>();
  T* best = similarity.mutable_data_ptr<T>();
  std::fill_n(at, n, int64_t{0});
  std::fill_n(best, n, -std::numeric_limits<T>::infinity());
  if (n == 0) return {index, similarity};
  Tensor memory = empty({height * width + width * d + std::max(n, width)}, kType<T>, rows);
  T *tile = memory.mutable_data_ptr<T>(), *entries = tile + height * width, *inverse_norm = entries + width * d;
  const Tensor q = wide_side(rows, inverse_norm, threads);
  const std::optional<Tensor> none;
  for (int64_t first = 0; first < k; first += width) {
    const int64_t cols = std::min(width, k - first);
    unit_block(columns, first, cols, entries, inverse_norm, threads);
    const Tensor block = slab<T>(entries, 0, cols, d);
    with_products(Sides{q, block, none, none}, 0, 0, [&](const auto& products) {
      if constexpr (std::is_same_v<typename std::decay_t<decltype(products)>::Number, T>) {
        for (int64_t row = 0; row < n; row += height) {
          const int64_t count = std::min(height, n - row);
          products.logits({row, count, 0, cols}, tile, 1, 1);
          cpu::nearest_in_tile(NearestTile<T>{tile, count, cols, first, best + row, at + row}, threads);
        }
      }
    });
  }
  return {index, similarity};
}

std::tuple<Tensor, Tensor> nearest_rows(const Tensor& rows, const Tensor& columns) {
  for (const Tensor* t : {&rows, &columns}) {
    check(t->is_cpu() && t->dim() == 2 && t->size(1) > 0 && t->size(1) == rows.size(1),
          "nearest_rows: rows and columns must be matrices of one width, with a column at least");
  }
  check(columns.is_contiguous() && columns.size(0) > 0, "nearest_rows: columns must be contiguous, one at least");
  const bool wide = rows.scalar_type() == ScalarType::Double || columns.scalar_type() == ScalarType::Double;
  return wide ? run<double>(rows, columns) : run<float>(rows, columns);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("nearest_rows", TORCH_BOX(&nearest_rows)); }

}  // namespace sslfast::ops
