#include "sslfast/sampled_softmax.h"

#include <tuple>

#include "dtype.h"

namespace sslfast::ops {
namespace {

bool vector_of(const Tensor& t, ScalarType dtype, int64_t size) {
  return here(t) && t.scalar_type() == dtype && t.dim() == 1 && t.is_contiguous() && t.size(0) == size;
}

const void* numbers(const std::optional<Tensor>& t, ScalarType dtype, int64_t size) {
  if (!t) return nullptr;
  check(vector_of(*t, dtype, size),
        "sampled_softmax: offsets, corrections and weights must be contiguous, one a row or a loss, float64 for "
        "float64 rows, else float32");
  return t->const_data_ptr();
}

#ifdef SSLFAST_WITH_CUDA
// What sorting the terms needs.
struct SortScratch {
  Tensor keys, sorted_keys, entries, sorted_entries, memory;

  static int64_t bytes(int64_t terms, int64_t table_rows) {
    int64_t found = 0;
    const cudaError_t error = cuda::sampled_softmax_sort_bytes(terms, table_rows, &found);
    if (error != cudaSuccess) throw std::runtime_error(std::string("sslfast: CUDA: ") + cudaGetErrorString(error));
    return found;
  }

  SortScratch(SampledSoftmax& p, int64_t terms, const Tensor& like)
      : keys(empty({terms}, ScalarType::Int, like)),
        sorted_keys(empty({terms}, ScalarType::Int, like)),
        entries(empty({terms}, ScalarType::Int, like)),
        sorted_entries(empty({terms}, ScalarType::Int, like)),
        memory(empty({bytes(terms, p.table_rows)}, ScalarType::Byte, like)) {
    p.keys = keys.mutable_data_ptr<int32_t>();
    p.sorted_keys = sorted_keys.mutable_data_ptr<int32_t>();
    p.entries = entries.mutable_data_ptr<int32_t>();
    p.sorted_entries = sorted_entries.mutable_data_ptr<int32_t>();
    p.sort_memory = memory.mutable_data_ptr();
    p.sort_bytes = memory.size(0);
  }
};
#endif

std::tuple<Tensor, Tensor, Tensor, Tensor> sampled_softmax(
    const Tensor& rows, const Tensor& table, const Tensor& index, const Tensor& positives, const Tensor& candidates,
    const std::optional<Tensor>& offsets, const std::optional<Tensor>& corrections, const std::optional<Tensor>& codes,
    const std::optional<Tensor>& weights, double scale, double shift, bool cosine, int64_t twins,
    bool candidates_of_rows, bool need_rows, bool need_table, bool need_offsets) {
  for (const Tensor* t : {&rows, &table}) {
    check(t->dim() == 2 && here(*t) && (t->stride(1) == 1 || t->size(1) <= 1) && t->size(1) == rows.size(1) &&
              t->scalar_type() == rows.scalar_type(),
          "sampled_softmax: rows and table must be (N, D) and (M, D) of one dtype, rows contiguous");
  }
  const ScalarType sums = wide(rows.scalar_type());
  SampledSoftmax p{};
  p.rows = rows.const_data_ptr();
  p.table = table.const_data_ptr();
  p.dtype = read_dtype(rows.scalar_type());
  p.row_count = rows.size(0);
  p.table_rows = table.size(0);
  p.width = rows.size(1);
  p.row_stride = rows.stride(0);
  p.table_stride = table.stride(0);
  p.losses_count = index.numel();
  check(p.table_rows < INT32_MAX, "sampled_softmax: a table of fewer than 2^31 - 1 rows");
  check(vector_of(index, ScalarType::Long, p.losses_count) && vector_of(positives, ScalarType::Long, p.losses_count),
        "sampled_softmax: index and positives must be contiguous int64, one a loss");
  check(here(candidates) && candidates.scalar_type() == ScalarType::Int && candidates.dim() == 2 &&
            candidates.is_contiguous() && candidates.size(0) == (candidates_of_rows ? p.row_count : p.losses_count),
        "sampled_softmax: candidates must be contiguous int32 (losses or rows, K)");
  p.negatives = candidates.size(1);
  p.index = index.const_data_ptr<int64_t>();
  p.positives = positives.const_data_ptr<int64_t>();
  p.candidates = candidates.const_data_ptr<int32_t>();
  p.candidates_of_rows = candidates_of_rows;
  p.offsets = numbers(offsets, sums, p.table_rows);
  p.corrections = numbers(corrections, sums, p.table_rows);
  p.weights = numbers(weights, sums, p.losses_count);
  check(twins >= 0 && twins <= 2 && (twins == 1) == codes.has_value(), "sampled_softmax: no such rule of twins");
  p.twins = static_cast<Twins>(twins);
  if (codes) {
    check(here(*codes) && codes->scalar_type() == ScalarType::Long && codes->dim() == 2 && codes->is_contiguous() &&
              codes->size(0) == p.table_rows,
          "sampled_softmax: codes must be contiguous int64 (M, G)");
    p.codes = codes->const_data_ptr<int64_t>();
    p.code_width = codes->size(1);
  }
  p.scale = scale;
  p.shift = shift;
  p.cosine = cosine;
  const int64_t terms_count = p.losses_count * (p.negatives + 1);
  Tensor losses = empty({p.losses_count}, sums, rows);
  Tensor d_rows = empty({need_rows ? p.row_count : 0, p.width}, sums, rows);
  Tensor d_table = empty({need_table ? p.table_rows : 0, p.width}, sums, rows);
  Tensor d_offsets = empty({need_offsets ? p.table_rows : 0}, sums, rows);
  Tensor terms = empty({terms_count}, sums, rows);
  Tensor inverse_norm = empty({cosine ? p.table_rows : 0}, sums, rows);
  p.terms = terms.mutable_data_ptr();
  p.inverse_norm = inverse_norm.mutable_data_ptr();
  p.losses = losses.mutable_data_ptr();
  p.d_rows = data_if(need_rows, d_rows);
  p.d_table = data_if(need_table, d_table);
  p.d_offsets = data_if(need_offsets, d_offsets);
#ifdef SSLFAST_WITH_CUDA
  check(terms_count < INT32_MAX, "sampled_softmax: fewer than 2^31 - 1 logits on a GPU");
  std::optional<SortScratch> scratch;
  if (need_table || need_offsets) scratch.emplace(p, terms_count, rows);
#endif
  launch([](const SampledSoftmax& params, auto where) { return backend::sampled_softmax(params, where); }, p, rows);
  return {losses, d_rows, d_table, d_offsets};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("sampled_softmax", TORCH_BOX(&sampled_softmax)); }

}  // namespace sslfast::ops
