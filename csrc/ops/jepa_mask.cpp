#include "sslfast/jepa_mask.h"

#include <tuple>

#include "tensor.h"

namespace sslfast::ops {

static Tensor working_bits(const JepaLists& p, const Tensor& like) {
  const int64_t words = p.lines * ((p.width + 63) / 64);
  check(p.lines >= 1 && p.width >= 1 && words <= kMostWords, "jepa_mask: the grid is too large");
  check(p.rows >= 0 && p.capacity >= 0 && p.most >= 0, "jepa_mask: sizes must not be negative");
  return empty({2, p.lists, p.rows, words}, ScalarType::Long, like);
}

static void check_size(const JepaSize& size) {
  check(0 <= size.scale_low && size.scale_low <= size.scale_high && size.scale_high <= 1 && 0 < size.aspect_low &&
            size.aspect_low <= size.aspect_high,
        "jepa_mask: ranges must be in order");
}

static std::tuple<Tensor, Tensor, Tensor> ijepa_mask(
    const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids, int64_t rows, int64_t height,
    int64_t width, double enc_scale_low, double enc_scale_high, double pred_scale_low, double pred_scale_high,
    double aspect_low, double aspect_high, int64_t encoders, int64_t predictors, int64_t min_keep, bool allow_overlap,
    bool exact, bool truncate, int64_t enc_capacity, int64_t pred_capacity, int64_t row_offset, int64_t batch_number) {
  check(here(like), "ijepa_mask: like is on another device");
  check(encoders >= 1 && encoders <= kMostBlocks && predictors >= 1 && predictors <= kMostBlocks,
        "ijepa_mask: 1 to 16 contexts and targets");
  IJepaMask p{};
  p.predictor = {pred_scale_low, pred_scale_high, aspect_low, aspect_high};
  p.encoder = {enc_scale_low, enc_scale_high, 1.0, 1.0};
  check_size(p.predictor);
  check_size(p.encoder);
  JepaLists& lists = p.contexts;
  lists.seed = read_seed(seed);
  lists.row_ids = read_rows(sample_ids, row_offset, rows);
  lists.rows = rows;
  lists.lines = height;
  lists.width = width;
  lists.lists = encoders;
  lists.together = true;
  lists.exact = exact;
  lists.keep = Stream::kJepaKeep;
  lists.truncate = truncate;
  lists.capacity = enc_capacity;
  Tensor bits = working_bits(lists, like), counts = empty({encoders, rows}, ScalarType::Long, like);
  Tensor contexts = empty({encoders, rows, enc_capacity}, ScalarType::Long, like);
  Tensor targets = empty({predictors, rows, pred_capacity}, ScalarType::Long, like);
  Tensor sizes = empty({encoders + 1}, ScalarType::Long, like);
  lists.indices = contexts.mutable_data_ptr<int64_t>();
  lists.sizes = sizes.mutable_data_ptr<int64_t>();
  lists.bits = reinterpret_cast<uint64_t*>(bits.mutable_data_ptr<int64_t>());
  lists.counts = counts.mutable_data_ptr<int64_t>();
  p.height = height;
  p.predictors = predictors;
  p.min_keep = min_keep;
  p.batch_number = batch_number;
  p.allow_overlap = allow_overlap;
  p.target_capacity = pred_capacity;
  p.targets = targets.mutable_data_ptr<int64_t>();
  p.target_size = lists.sizes + encoders;
  launch([](const IJepaMask& params, auto where) { return backend::ijepa_mask(params, where); }, p, like);
  return {contexts, targets, sizes};
}

static std::tuple<Tensor, Tensor> vjepa_mask(const Tensor& like, const Tensor& seed,
                                             const std::optional<Tensor>& sample_ids, int64_t rows, int64_t frames,
                                             int64_t height, int64_t width, double temporal_low, double temporal_high,
                                             double scale_low, double scale_high, double aspect_low, double aspect_high,
                                             int64_t blocks, int64_t context_frames, int64_t max_keep, bool exact,
                                             bool truncate, int64_t row_offset, int64_t batch_number) {
  check(here(like), "vjepa_mask: like is on another device");
  check(blocks >= 1 && context_frames >= 1 && context_frames <= frames && 0 <= temporal_low &&
            temporal_low <= temporal_high && temporal_high <= 1,
        "vjepa_mask: blocks, frames or the temporal range out of range");
  VJepaMask p{};
  p.size = {scale_low, scale_high, aspect_low, aspect_high};
  check_size(p.size);
  JepaLists& lists = p.lists;
  lists.seed = read_seed(seed);
  lists.row_ids = read_rows(sample_ids, row_offset, rows);
  lists.rows = rows;
  lists.lines = frames * height;
  lists.width = width;
  lists.lists = 2;
  lists.exact = exact;
  lists.keep = Stream::kVJepaKeep;
  lists.truncate = truncate;
  lists.most = max_keep;
  lists.capacity = frames * height * width;
  Tensor bits = working_bits(lists, like), counts = empty({2, rows}, ScalarType::Long, like);
  Tensor indices = empty({2, rows, lists.capacity}, ScalarType::Long, like);
  Tensor sizes = empty({2}, ScalarType::Long, like);
  lists.indices = indices.mutable_data_ptr<int64_t>();
  lists.sizes = sizes.mutable_data_ptr<int64_t>();
  lists.bits = reinterpret_cast<uint64_t*>(bits.mutable_data_ptr<int64_t>());
  lists.counts = counts.mutable_data_ptr<int64_t>();
  p.frames = frames;
  p.height = height;
  p.temporal_low = temporal_low;
  p.temporal_high = temporal_high;
  p.blocks = blocks;
  p.context_frames = context_frames;
  p.batch_number = batch_number;
  launch([](const VJepaMask& params, auto where) { return backend::vjepa_mask(params, where); }, p, like);
  return {indices, sizes};
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("ijepa_mask", TORCH_BOX(&ijepa_mask));
  m.impl("vjepa_mask", TORCH_BOX(&vjepa_mask));
}

}  // namespace sslfast::ops
