#include "sslfast/block_mask.h"

#include "block_rule.h"
#include "tensor.h"

namespace sslfast::ops {

static Tensor block_mask(const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                         const std::optional<Tensor>& targets, double target_low, double target_high,
                         double mask_probability, int64_t rows, int64_t height, int64_t width, double min_patches,
                         double max_patches, double log_aspect_low, double log_aspect_high, bool exact, bool shift,
                         int64_t row_offset, int64_t tries) {
  check(here(like), "block_mask: like is on another device");
  BlockMask p{};
  p.rule = block_rule(height, width, min_patches, max_patches, log_aspect_low, log_aspect_high, exact, shift, tries);
  check(rows >= 0 && target_low >= 0 && target_low <= target_high && target_high <= static_cast<double>(height * width),
        "block_mask: 0 <= target <= patches");
  check(mask_probability >= 0 && mask_probability <= 1, "block_mask: a probability");
  if (targets) {
    check(targets->scalar_type() == ScalarType::Long && targets->dim() == 1 && targets->size(0) == rows &&
              targets->is_contiguous() && here(*targets),
          "block_mask: targets must be contiguous int64, one a row, on the device of the data");
    p.targets = targets->const_data_ptr<int64_t>();
  }
  Tensor mask = empty({rows, height, width}, ScalarType::Bool, like);
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.rows = rows;
  p.target_low = target_low;
  p.target_high = target_high;
  p.row_threshold = probability_threshold(mask_probability);
  p.mask = mask.mutable_data_ptr<bool>();
  launch([](const BlockMask& params, auto where) { return backend::block_mask(params, where); }, p, like);
  return mask;
}

static Tensor inverse_block_mask(const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                                 int64_t rows, int64_t height, int64_t width, int64_t visible, double log_aspect_low,
                                 double log_aspect_high, bool exact, bool shift, int64_t row_offset) {
  check(here(like), "inverse_block_mask: like is on another device");
  check(rows >= 0 && height >= 1 && width >= 1 && visible >= 0 && visible <= height * width,
        "inverse_block_mask: 0 <= visible <= patches");
  Tensor mask = empty({rows, height, width}, ScalarType::Bool, like);
  InverseBlockMask p{};
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.rows = rows;
  p.height = height;
  p.width = width;
  p.visible = visible;
  p.log_aspect_low = log_aspect_low;
  p.log_aspect_high = log_aspect_high;
  p.exact = exact;
  p.shift = shift;
  p.mask = mask.mutable_data_ptr<bool>();
  launch([](const InverseBlockMask& params, auto where) { return backend::inverse_block_mask(params, where); }, p,
         like);
  return mask;
}

static Tensor square_mask(const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids, int64_t rows,
                          int64_t height, int64_t width, int64_t squares, int64_t side, int64_t marked, bool inverse,
                          int64_t row_offset) {
  check(here(like), "square_mask: like is on another device");
  check(height >= 1 && height <= kLongestSide && width >= 1 && width <= kLongestSide, "square_mask: sides of 1 to 512");
  check(rows >= 0 && squares >= 0 && squares < int64_t{1} << 32 && side >= 1 && marked >= 0 && marked <= height * width,
        "square_mask: 0 <= marked <= patches");
  Tensor mask = empty({rows, height, width}, ScalarType::Bool, like);
  SquareMask p{};
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.rows = rows;
  p.height = height;
  p.width = width;
  p.squares = squares;
  p.side = side;
  p.marked = marked;
  p.inverse = inverse;
  p.mask = mask.mutable_data_ptr<bool>();
  launch([](const SquareMask& params, auto where) { return backend::square_mask(params, where); }, p, like);
  return mask;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("block_mask", TORCH_BOX(&block_mask));
  m.impl("inverse_block_mask", TORCH_BOX(&inverse_block_mask));
  m.impl("square_mask", TORCH_BOX(&square_mask));
}

}  // namespace sslfast::ops
