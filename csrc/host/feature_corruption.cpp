#include "sslfast/feature_corruption.h"

#include "arrays.h"

namespace sslfast::host {

static py::tuple feature_draws(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t rows, int64_t features,
                               bool exact, int64_t count, double probability, int64_t source, int64_t bank_rows,
                               int64_t row_offset, int threads) {
  Array<bool> mask({rows, features});
  Array<int64_t> sources({rows, features});
  FeatureDraws p{};
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.rows = rows;
  p.features = features;
  p.exact = exact;
  p.count = count;
  p.threshold = probability_threshold(probability);
  p.source = static_cast<FeatureSource>(source);
  p.bank_rows = static_cast<uint64_t>(bank_rows);
  p.mask = mask.mutable_data();
  p.sources = sources.mutable_data();
  {
    py::gil_scoped_release release;
    cpu::feature_draws(p, threads);
  }
  return py::make_tuple(mask, sources);
}

static Array<int32_t> column_permutations(uint64_t seed, uint32_t stream, int64_t columns, int64_t rows, int threads) {
  Array<int32_t> out({columns, rows});
  const ColumnPermutations p{{nullptr, seed}, stream, columns, rows, out.mutable_data()};
  py::gil_scoped_release release;
  cpu::column_permutations(p, threads);
  return out;
}

void bind_feature_corruption(py::module_& m) {
  m.def("feature_draws", &feature_draws);
  m.def("column_permutations", &column_permutations);
}

}  // namespace sslfast::host
