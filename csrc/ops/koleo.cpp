// KoLeo: half of the products of unit rows, a block of rows with all that follow at a time; in each block the nearest
// of its rows and of those that follow; then distances and gradient. The products of one block are held at once. A GPU
// runs losses/koleo.py in torch.
#include "sslfast/koleo.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "dtype.h"
#include "tile_products.h"

namespace sslfast::ops {
namespace {

constexpr int64_t kBlock = 128;  // rows

std::tuple<Tensor, Tensor, Tensor> koleo(const Tensor& x, double eps, bool need_grad) {
  check(x.is_cpu() && x.dim() == 2 && x.size(0) > 1 && x.size(1) > 0 && (x.stride(1) == 1 || x.size(1) == 1),
        "koleo: x must be (N, D), N >= 2, rows contiguous");
  check(x.size(0) <= std::numeric_limits<int32_t>::max(), "koleo: x must have less than 2^31 rows");
  const int64_t n = x.size(0), d = x.size(1);
  const ScalarType dtype = x.scalar_type();
  check(dtype == ScalarType::Float || dtype == ScalarType::Double, "koleo: x must be float32 or float64");
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  Tensor unit = empty({n, d}, dtype, x), vectors = empty({3, n}, dtype, x), loss = empty({}, dtype, x);
  Tensor nearest = empty({n}, ScalarType::Int, x), neighbours = empty({n}, ScalarType::Long, x);
  Tensor grad = empty({need_grad ? n : 0, d}, dtype, x), tile = empty({std::min(n, kBlock), n}, dtype, x);
  const std::optional<Tensor> none;
  with_products(Sides{unit, unit, none, none}, 0, 0, [&](auto& sides) {
    using T = typename std::decay_t<decltype(sides)>::Number;
    T *scratch = vectors.mutable_data_ptr<T>(), *products = tile.mutable_data_ptr<T>();
    const Koleo<T> p{x.const_data_ptr<T>(),
                     n,
                     d,
                     x.stride(0),
                     static_cast<T>(eps),
                     unit.mutable_data_ptr<T>(),
                     scratch,
                     scratch + n,
                     nearest.mutable_data_ptr<int32_t>(),
                     scratch + 2 * n,
                     loss.mutable_data_ptr<T>(),
                     neighbours.mutable_data_ptr<int64_t>(),
                     data_if<T>(need_grad, grad)};
    cpu::koleo_units(p, threads);
    for (int64_t first = 0; first < n; first += kBlock) {
      const int64_t stop = std::min(first + kBlock, n);
      sides.logits(TilePlace{first, stop - first, first, n - first}, products, 1.0, 1.0);
      cpu::koleo_search(p, products, first, stop, threads);
    }
    cpu::koleo_loss(p, threads);
  });
  return {loss, neighbours, grad};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("koleo", TORCH_BOX(&koleo)); }

}  // namespace sslfast::ops
