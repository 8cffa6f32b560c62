#include "sslfast/dino_mask.h"

#include <tuple>

#include "block_rule.h"
#include "tensor.h"

namespace sslfast::ops {

static std::tuple<Tensor, Tensor, Tensor, Tensor> dino_mask(
    const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids, int64_t rows, int64_t height,
    int64_t width, double min_patches, double max_patches, double log_aspect_low, double log_aspect_high, bool exact,
    bool shift, int64_t masked_rows, double ratio_low, double ratio_high, int64_t capacity, int64_t row_offset,
    int64_t batch_number, int64_t tries) {
  check(here(like), "dino_mask: like is on another device");
  DinoMask p{};
  p.rule = block_rule(height, width, min_patches, max_patches, log_aspect_low, log_aspect_high, exact, shift, tries);
  check(rows >= 0 && rows < int64_t{1} << 31 && masked_rows >= 0 && masked_rows <= rows && ratio_low >= 0 &&
            ratio_low <= ratio_high && ratio_high <= 1,
        "dino_mask: 0 <= masked_rows <= rows, 0 <= ratio <= 1");
  double most = 0;  // what the targets can add up to
  for (int64_t i = 0; i < masked_rows; ++i) {
    const double ratio = ratio_low + (ratio_high - ratio_low) * (static_cast<double>(i + 1) / masked_rows);
    most += static_cast<double>(static_cast<int64_t>(static_cast<double>(height * width) * ratio));
  }
  check(static_cast<double>(capacity) >= most, "dino_mask: capacity is too small");
  Tensor mask = empty({rows, height * width}, ScalarType::Bool, like);
  Tensor indices = empty({capacity}, ScalarType::Long, like);
  Tensor weights = empty({capacity}, ScalarType::Float, like);
  Tensor counts = empty({rows}, ScalarType::Long, like);
  Tensor total = empty({1}, ScalarType::Long, like);
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.rows = rows;
  p.masked_rows = masked_rows;
  p.ratio_low = ratio_low;
  p.ratio_high = ratio_high;
  p.batch_number = batch_number;
  p.capacity = capacity;
  p.mask = mask.mutable_data_ptr<bool>();
  p.indices = indices.mutable_data_ptr<int64_t>();
  p.weights = weights.mutable_data_ptr<float>();
  p.counts = counts.mutable_data_ptr<int64_t>();
  p.total = total.mutable_data_ptr<int64_t>();
  launch([](const DinoMask& params, auto where) { return backend::dino_mask(params, where); }, p, like);
  return {mask, indices, weights, total};
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("dino_mask", TORCH_BOX(&dino_mask)); }

}  // namespace sslfast::ops
