// One view from one image, row by row, everything in L1 and L2. A view is a few passes over its rows: the first takes
// them from the source, each later one from the pass before. Operations on pixels alone are done in registers on the
// way; contrast, equalize and auto contrast end a pass because they need the whole view, blur, sharpness and affine
// maps because they need the neighbourhood. Bytes: the box read and the view written once; no batch of intermediate
// images is ever in memory, two views a thread at most.
#include "sslfast/image_augment.h"

#include <algorithm>
#include <limits>

#include "../shared/image_augment_neighbours.h"
#include "image_augment_moves.h"
#include "image_augment_resize.h"
#include "large_output.h"

namespace sslfast::cpu {
namespace {

using namespace augment;

// The shortest row that goes past the caches: of fewer pixels the ends cost more than that saves.
constexpr int64_t kStreamedRow = 64;

// Buffers of one thread. A view that waits for its next pass lies in one of `views`, 3 planes; a blur reads a block
// past their end.
struct Scratch {
  ResizeScratch resize;
  MoveScratch move;
  Buffer<float> views[2], row, table;
};

// One to three channels of a view.
class Renderer {
 public:
  Renderer(const ImageAugment& p, Scratch& s, bool streamed)
      : p_(p),
        s_(s),
        n_(p.out_width),
        plane_(p.out_height * p.out_width),
        direct_(p.out_type == Pixels::kFloat && !p.channels_last),
        streamed_(direct_ && streamed && n_ >= kStreamedRow) {}

  void render(int64_t view, int64_t row, int64_t first_channel, int64_t channels) {
    const Image image = p_.source(row);
    first_channel_ = first_channel;
    gray_ = false;
    row_ = Row{};
    row_.n = n_;
    row_.channels = channels;
    row_.gain = p_.gain + first_channel;
    row_.offset = p_.offset + first_channel;
    out_ = static_cast<char*>(p_.out) +
           ((view * p_.rows + row) * p_.channels * plane_ + first_channel * (p_.channels_last ? 1 : plane_)) *
               pixel_bytes(p_.out_type);
    read_view(p_, p_.params + (row * p_.views + view) * p_.columns, image, view_);
    set_fills(p_, first_channel, view_);

    Resizer resizer(p_, image, first_channel, channels, view_, s_.resize);
    int32_t next = 0;
    double gray = pass(next, false, [&](int64_t y) { resizer.set(y, row_); });
    while (next < view_.count) {
      Op& op = view_.op[next];
      if (!moves_pixels(op.code)) {
        if (op.code == kOpContrast) op.b *= static_cast<float>(gray / static_cast<double>(plane_));
        if (op.code == kOpAutoContrast) stretch_range(op);
        if (op.code == kOpEqualize) equalize(op);
        gray = pass(next, true, [&, from = held_](int64_t y) { row_.top = from.moved(y * n_); });
        continue;
      }
      ++next;
      if (op.code == kOpAffine && (op.fill[0] != op.fill[1] || op.fill[0] != op.fill[2])) gray_ = false;
      const bool alike = gray_;
      Move move(op, {p_.out_height, n_, alike ? 1 : channels}, s_.move);
      gray = pass(next, false, [&, from = held_](int64_t y) {
        const Planes moved = move.row(from, y);
        row_.top = alike ? planes(moved.plane[0], 0) : moved;
      });
    }
    if (resizer.poisoned()) poison();
  }

 private:
  // Every row through the operations from `next` on that work on pixels alone, or have what they need of the view
  // (`ready`): to the output if none is left, else to a view that waits. Returns the sum of its gray values then, with
  // `next` at the operation that it waits for.
  template <typename Set>
  double pass(int32_t& next, bool ready, Set set) {
    const int32_t first = next;
    if (ready) ++next;
    while (next < view_.count && works_on_pixels(view_.op[next].code)) ++next;
    row_.op = view_.op + first;
    row_.ops = next - first;
    for (int32_t k = 0; k < row_.ops; ++k) gray_ = gray_ || row_.op[k].code == kOpGray;
    row_.hold = next < view_.count;
    row_.blend = false;
    return row_.hold ? hold(set, moves_pixels(view_.op[next].code), ready) : finish(set);
  }

  // In the output if that can hold it, is not streamed, and no operation that takes pixels from elsewhere comes next.
  // Rows that come from the same places of a view that waits (`in_place`) replace it: one view fits in L2, two do not.
  template <typename Set>
  double hold(Set set, bool to_scratch, bool in_place) {
    Planes to = planes(reinterpret_cast<float*>(out_), plane_);
    if (to_scratch || !direct_ || streamed_) {
      if (!in_place) slot_ = 1 - slot_;
      to = planes(s_.views[slot_].at_least(3 * plane_ + kMaxLanes), plane_);
    }
    double gray = 0;
    for (int64_t y = 0; y < p_.out_height; ++y) {
      set(y);
      row_.out = to.moved(y * n_);
      gray += paint(row_);
    }
    held_ = to;
    return gray;
  }

  // A large output goes past the caches, row by row: it is not read first, and the view that waits stays in L2.
  template <typename Set>
  double finish(Set set) {
    const int64_t stride = padded(n_), pixel = p_.channels_last ? p_.channels : 1;
    const int64_t bytes = pixel_bytes(p_.out_type);
    row_.out = planes(s_.row.at_least(3 * stride), stride);
    for (int64_t y = 0; y < p_.out_height; ++y) {
      set(y);
      if (direct_ && !streamed_) row_.out = planes(reinterpret_cast<float*>(out_), plane_).moved(y * n_);
      paint(row_);
      if (p_.channels_last && row_.channels == 3) {
        interleave_rows(row_.out, n_, p_.out_type, out_ + y * n_ * 3 * bytes);
        continue;
      }
      for (int64_t c = 0; c < row_.channels && streamed_; ++c) {
        stream(out_ + (c * plane_ + y * n_) * bytes, row_.out.plane[c], n_ * bytes);
      }
      for (int64_t c = 0; c < row_.channels && !direct_; ++c) {
        narrow_row(row_.out.plane[c], n_, pixel, p_.out_type,
                   out_ + (y * n_ * pixel + c * (p_.channels_last ? 1 : plane_)) * bytes);
      }
    }
    return 0;
  }

  // Auto contrast: every channel from its least to its largest value, to [0, 1].
  void stretch_range(Op& op) {
    float* table = s_.table.at_least(3 * 256);
    for (int64_t c = 0; c < row_.channels; ++c) {
      const auto [low, high] = std::minmax_element(held_.plane[c], held_.plane[c] + plane_);
      stretch_of(*low, *high, table + 2 * c);
    }
    op.code = kOpStretch;
    op.table = table;
  }

  void equalize(Op& op) {
    float* table = s_.table.at_least(3 * 256);
    for (int64_t c = 0; c < row_.channels; ++c) {
      int64_t count[256] = {};
      for (int64_t i = 0; i < plane_; ++i) ++count[to_byte(held_.plane[c][i])];
      equalize_table(count, plane_, table + 256 * c);
    }
    for (int64_t c = row_.channels; c < 3; ++c) std::copy_n(table, 256, table + 256 * c);
    op.code = kOpTable;
    op.table = table;
  }

  // A box with NaN or infinity in it gives a view of NaN, never a plausible one.
  void poison() {
    row_.out = planes(s_.row.at_least(3 * padded(n_)), padded(n_));
    std::fill_n(row_.out.plane[0], n_, std::numeric_limits<float>::quiet_NaN());
    const int64_t pixel = p_.channels_last ? p_.channels : 1, bytes = pixel_bytes(p_.out_type);
    for (int64_t y = 0; y < p_.out_height; ++y) {
      for (int64_t c = 0; c < row_.channels; ++c) {
        narrow_row(row_.out.plane[0], n_, pixel, p_.out_type,
                   out_ + (y * n_ * pixel + c * (p_.channels_last ? 1 : plane_)) * bytes);
      }
    }
  }

  const ImageAugment& p_;
  Scratch& s_;
  const int64_t n_, plane_;
  const bool direct_;    // rows of the output are rows of floats
  const bool streamed_;  // which go past the caches
  int64_t first_channel_ = 0;
  int slot_ = 0;
  bool gray_ = false;  // are the channels alike? Only fills of their own make them differ again
  char* out_ = nullptr;
  View view_;
  Row row_;
  Planes held_{};
};

}  // namespace

void image_augment(const ImageAugment& p, int threads) {
  const int64_t items = p.rows * p.views;
  const LargeOutput large =
      prepare_large_output(p.out, items * p.channels * p.out_height * p.out_width * pixel_bytes(p.out_type));
  const int64_t together = p.channels == 3 ? 3 : 1;
#pragma omp parallel num_threads(threads) if (threads > 1 && items > 1)
  {
    Scratch scratch;
    Renderer renderer(p, scratch, large.streamed);
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < items; ++i) {  // an image's views together
      for (int64_t c = 0; c < p.channels; c += together) renderer.render(i % p.views, i / p.views, c, together);
    }
    stream_fence();
  }
}

}  // namespace sslfast::cpu
