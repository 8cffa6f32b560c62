#include "sslfast/jepa_mask.h"

#include <vector>

#include "arrays.h"

namespace sslfast::host {

// The working memory of a call.
struct Working {
  std::vector<uint64_t> bits;
  std::vector<int64_t> counts;

  explicit Working(JepaLists& p)
      : bits(2 * p.lists * p.rows * p.lines * ((p.width + 63) / 64)), counts(p.lists * p.rows) {
    p.bits = bits.data();
    p.counts = counts.data();
  }
};

static py::tuple ijepa_mask(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t rows, int64_t height,
                            int64_t width, std::array<double, 2> enc_scale, std::array<double, 2> pred_scale,
                            std::array<double, 2> aspect, int64_t encoders, int64_t predictors, int64_t min_keep,
                            bool allow_overlap, bool exact, bool truncate, int64_t enc_capacity, int64_t pred_capacity,
                            int64_t row_offset, int64_t batch_number, int threads) {
  Array<int64_t> contexts({encoders, rows, enc_capacity}), targets({predictors, rows, pred_capacity});
  Array<int64_t> sizes(encoders + 1);
  IJepaMask p{};
  p.contexts = {{nullptr, seed},
                read_rows(sample_ids, row_offset),
                rows,
                height,
                width,
                encoders,
                true,
                exact,
                Stream::kJepaKeep,
                truncate,
                0,
                enc_capacity};
  p.contexts.indices = contexts.mutable_data();
  p.contexts.sizes = sizes.mutable_data();
  Working working(p.contexts);
  p.height = height;
  p.predictor = {pred_scale[0], pred_scale[1], aspect[0], aspect[1]};
  p.encoder = {enc_scale[0], enc_scale[1], 1.0, 1.0};
  p.predictors = predictors;
  p.min_keep = min_keep;
  p.batch_number = batch_number;
  p.allow_overlap = allow_overlap;
  p.target_capacity = pred_capacity;
  p.targets = targets.mutable_data();
  p.target_size = p.contexts.sizes + encoders;
  {
    py::gil_scoped_release release;
    cpu::ijepa_mask(p, threads);
  }
  return py::make_tuple(contexts, targets, sizes);
}

static py::tuple vjepa_mask(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t rows,
                            std::array<int64_t, 3> grid, std::array<double, 2> temporal, std::array<double, 2> scale,
                            std::array<double, 2> aspect, int64_t blocks, int64_t context_frames, int64_t max_keep,
                            bool exact, bool truncate, int64_t row_offset, int64_t batch_number, int threads) {
  const auto [frames, height, width] = grid;
  const int64_t capacity = frames * height * width;
  Array<int64_t> indices({int64_t{2}, rows, capacity}), sizes(2);
  VJepaMask p{};
  p.lists = {{nullptr, seed},
             read_rows(sample_ids, row_offset),
             rows,
             frames * height,
             width,
             2,
             false,
             exact,
             Stream::kVJepaKeep,
             truncate,
             max_keep,
             capacity};
  p.lists.indices = indices.mutable_data();
  p.lists.sizes = sizes.mutable_data();
  Working working(p.lists);
  p.frames = frames;
  p.height = height;
  p.temporal_low = temporal[0];
  p.temporal_high = temporal[1];
  p.size = {scale[0], scale[1], aspect[0], aspect[1]};
  p.blocks = blocks;
  p.context_frames = context_frames;
  p.batch_number = batch_number;
  {
    py::gil_scoped_release release;
    cpu::vjepa_mask(p, threads);
  }
  return py::make_tuple(indices, sizes);
}

void bind_jepa_mask(py::module_& m) {
  m.def("ijepa_mask", &ijepa_mask);
  m.def("vjepa_mask", &vjepa_mask);
}

}  // namespace sslfast::host
