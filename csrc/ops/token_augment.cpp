#include "sslfast/token_augment.h"

#include <tuple>
#include <vector>

#include "tensor.h"

namespace sslfast::ops {

using Augmented = std::tuple<Tensor, Tensor, Tensor>;

template <typename Id>
static Augmented run(const Tensor& ids, const std::optional<Tensor>& present, const std::optional<Tensor>& lengths,
                     const std::optional<Tensor>& special, const std::optional<Tensor>& table_offsets,
                     const std::optional<Tensor>& table_ids, const Tensor& seed,
                     const std::optional<Tensor>& sample_ids, const std::vector<int64_t>& special_ids,
                     const std::vector<int64_t>& numbers, const std::vector<double>& rates, int64_t choice,
                     int64_t views, int64_t out_length, int64_t pad_id, int64_t mask_id, bool left, bool positions,
                     int64_t row_offset) {
  TokenAugment<Id> p{};
  check(read_token_steps(p, numbers, rates) && read_special_ids(p, special_ids),
        "token_augment: from 1 to 8 steps, at most 16 special ids");
  check(choice == 0 || choice == 1 || (choice == 2 && views <= 2 && p.steps > 1), "token_augment: choice out of range");
  p.rows = ids.size(0);
  p.length = ids.size(1);
  p.out_length = out_length;
  p.views = views;
  Tensor out = empty({views, p.rows, out_length}, ids.scalar_type(), ids);
  Tensor mask = empty({views, p.rows, out_length}, ScalarType::Bool, ids);
  Tensor places = empty({views, p.rows, positions ? out_length : 0}, ScalarType::Long, ids);
  p.ids = ids.const_data_ptr<Id>();
  p.row_stride = ids.stride(0);
  p.stride = ids.stride(1);
  if (present) {
    p.present = present->const_data_ptr<bool>();
    p.present_row_stride = present->stride(0);
    p.present_stride = present->stride(1);
  }
  if (lengths) p.lengths = lengths->const_data_ptr<int64_t>();
  if (special) {
    p.special = special->const_data_ptr<bool>();
    p.special_row_stride = special->stride(0);
    p.special_stride = special->stride(1);
  }
  if (table_offsets) {
    p.table_offsets = table_offsets->const_data_ptr<int64_t>();
    p.table_ids = table_ids->const_data_ptr<int64_t>();
    p.table_rows = table_offsets->numel() - 1;
    p.table_entries = table_ids->numel();
  }
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, p.rows);
  p.choice = static_cast<TokenChoice>(choice);
  p.pad_id = static_cast<Id>(pad_id);
  p.mask_id = static_cast<Id>(mask_id);
  p.left = left;
  p.out = out.mutable_data_ptr<Id>();
  p.mask = mask.mutable_data_ptr<bool>();
  p.positions = positions ? places.mutable_data_ptr<int64_t>() : nullptr;
#ifdef SSLFAST_WITH_CUDA
  const int64_t bytes = cuda::token_augment_scratch(p.rows * views, out_length);
  const Tensor scratch = empty({bytes}, ScalarType::Byte, ids);
  p.scratch = bytes ? scratch.mutable_data_ptr<uint8_t>() : nullptr;
#endif
  launch([](const auto& params, auto where) { return backend::token_augment(params, where); }, p, ids);
  return {out, mask, places};
}

static Augmented token_augment(const Tensor& ids, const std::optional<Tensor>& present,
                               const std::optional<Tensor>& lengths, const std::optional<Tensor>& special,
                               const std::optional<Tensor>& table_offsets, const std::optional<Tensor>& table_ids,
                               const Tensor& seed, const std::optional<Tensor>& sample_ids,
                               std::vector<int64_t> special_ids, std::vector<int64_t> numbers,
                               std::vector<double> rates, int64_t choice, int64_t views, int64_t out_length,
                               int64_t pad_id, int64_t mask_id, bool left, bool positions, int64_t row_offset) {
  check(ids.dim() == 2 && here(ids), "token_augment: ids must be (rows, length)");
  const auto like_ids = [&](const std::optional<Tensor>& t) {
    return !t || (t->scalar_type() == ScalarType::Bool && t->dim() == 2 && here(*t) && t->size(0) == ids.size(0) &&
                  t->size(1) == ids.size(1));
  };
  const auto numbers_of = [&](const std::optional<Tensor>& t) {
    return t->scalar_type() == ScalarType::Long && t->dim() == 1 && t->is_contiguous() && here(*t);
  };
  check(like_ids(present) && like_ids(special), "token_augment: present and special must be bool, like ids");
  check(!lengths || (numbers_of(lengths) && lengths->size(0) == ids.size(0)), "token_augment: one int64 length a row");
  check(table_offsets.has_value() == table_ids.has_value() &&
            (!table_offsets || (numbers_of(table_offsets) && numbers_of(table_ids) && table_offsets->numel() > 0 &&
                                table_ids->numel() < int64_t{1} << 31)),
        "token_augment: a table of contiguous int64 offsets and ids");
  check(views >= 1 && views <= kMostTokenViews, "token_augment: from 1 to 8 views");
  check(out_length >= ids.size(1) && out_length < kMostTokens, "token_augment: out_length out of range");
  const auto dtype = ids.scalar_type();
  check(dtype == ScalarType::Int || dtype == ScalarType::Long, "token_augment: ids must be int32 or int64");
  return (dtype == ScalarType::Int ? run<int32_t> : run<int64_t>)(ids, present, lengths, special, table_offsets,
                                                                  table_ids, seed, sample_ids, special_ids, numbers,
                                                                  rates, choice, views, out_length, pad_id, mask_id,
                                                                  left, positions, row_offset);
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("token_augment", TORCH_BOX(&token_augment)); }

}  // namespace sslfast::ops
