#include "sslfast/feature_corruption.h"

#include <optional>
#include <tuple>

#include "tensor.h"

namespace sslfast::ops {

static FeatureDraws draws_of(const Tensor& mask, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                             bool exact, int64_t count, double probability, int64_t source, int64_t bank_rows,
                             int64_t row_offset) {
  const int64_t rows = mask.size(0), features = mask.size(1);
  check(features >= 1 && features < int64_t{1} << 32, "feature_corruption: rows of 1 to 2^32 - 1 features");
  check(count >= 0 && count <= features && probability >= 0 && probability <= 1 && (source == 0 || source == 1),
        "feature_corruption: no such rule");
  check(bank_rows >= 1 && bank_rows <= int64_t{1} << 32, "feature_corruption: banks of 1 to 2^32 rows");
  FeatureDraws p{};
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.rows = rows;
  p.features = features;
  p.exact = exact;
  p.count = count;
  p.threshold = probability_threshold(probability);
  p.source = static_cast<FeatureSource>(source);
  p.bank_rows = static_cast<uint64_t>(bank_rows);
  p.mask = mask.mutable_data_ptr<bool>();
  return p;
}

static std::tuple<Tensor, Tensor> feature_draws(const Tensor& like, const Tensor& seed,
                                                const std::optional<Tensor>& sample_ids, int64_t rows, int64_t features,
                                                bool exact, int64_t count, double probability, int64_t source,
                                                int64_t bank_rows, int64_t row_offset) {
  check(here(like) && rows >= 0, "feature_draws: like is on another device");
  Tensor mask = empty({rows, features}, ScalarType::Bool, like);
  Tensor sources = empty({rows, features}, ScalarType::Long, like);
  FeatureDraws p = draws_of(mask, seed, sample_ids, exact, count, probability, source, bank_rows, row_offset);
  p.sources = sources.mutable_data_ptr<int64_t>();
  launch([](const FeatureDraws& params, auto where) { return backend::feature_draws(params, where); }, p, like);
  return {mask, sources};
}

static std::tuple<Tensor, Tensor> feature_corruption(const Tensor& x, const Tensor& bank, const Tensor& seed,
                                                     const std::optional<Tensor>& sample_ids,
                                                     const std::optional<Tensor>& sources, bool exact, int64_t count,
                                                     double probability, int64_t source, int64_t row_offset) {
  check(x.dim() == 2 && here(x) && x.element_size() <= 8, "feature_corruption: x must be (rows, features)");
  check(bank.dim() == 2 && here(bank) && bank.scalar_type() == x.scalar_type() && bank.size(1) == x.size(1),
        "feature_corruption: bank must be (bank rows, features), like x");
  Tensor out = empty({x.size(0), x.size(1)}, x.scalar_type(), x);
  Tensor mask = empty({x.size(0), x.size(1)}, ScalarType::Bool, x);
  FeatureCorruption p{};
  p.draws = draws_of(mask, seed, sample_ids, exact, count, probability, source, bank.size(0), row_offset);
  if (sources) {
    check(sources->scalar_type() == ScalarType::Int && sources->dim() == 2 && sources->is_contiguous() &&
              here(*sources) && sources->size(0) == x.size(1) && sources->size(1) == x.size(0),
          "feature_corruption: sources must be contiguous int32 (features, rows)");
    p.draws.given = sources->const_data_ptr<int32_t>();
  }
  p.element_size = static_cast<int64_t>(x.element_size());
  p.x = x.const_data_ptr();
  p.x_row_stride = x.stride(0);
  p.x_stride = x.stride(1);
  p.bank = bank.const_data_ptr();
  p.bank_row_stride = bank.stride(0);
  p.bank_stride = bank.stride(1);
  p.out = out.mutable_data_ptr();
  launch([](const FeatureCorruption& params, auto where) { return backend::feature_corruption(params, where); }, p, x);
  return {out, mask};
}

static Tensor column_permutations(const Tensor& like, const Tensor& seed, int64_t stream, int64_t columns,
                                  int64_t rows) {
  check(here(like) && columns >= 0 && rows >= 0 && rows < int64_t{1} << 31,
        "column_permutations: columns of at most 2^31 - 1 rows");
  Tensor out = empty({columns, rows}, ScalarType::Int, like);
  const ColumnPermutations p{read_seed(seed), static_cast<uint32_t>(stream), columns, rows,
                             out.mutable_data_ptr<int32_t>()};
  launch([](const ColumnPermutations& params, auto where) { return backend::column_permutations(params, where); }, p,
         like);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("column_permutations", TORCH_BOX(&column_permutations));
  m.impl("feature_draws", TORCH_BOX(&feature_draws));
  m.impl("feature_corruption", TORCH_BOX(&feature_corruption));
}

}  // namespace sslfast::ops
