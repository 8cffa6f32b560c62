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

constexpr int64_t kLine = 64;  // bytes of a cache line

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
    gray_ = false;
    row_ = Row{};
    view_out_ = static_cast<char*>(p_.out) + (view * p_.rows + row) * p_.channels * plane_ * pixel_bytes(p_.out_type);
    select(first_channel, channels);
    read_view(p_, p_.params + (row * p_.views + view) * p_.columns, image, view_);
    set_fills(p_, first_channel, channels, view_);

    Resizer resizer(p_, image, first_channel, channels, view_, s_.resize);
    int32_t next = 0;
    double gray = pass(next, false, [&](int64_t y) {
      resizer.set(y, row_);
      return int64_t{1};
    });
    while (next < view_.count) {
      Op& op = view_.op[next];
      if (!moves_pixels(op.code)) {
        if (op.code == kOpContrast) op.b *= static_cast<float>(gray / static_cast<double>(plane_));
        if (op.code == kOpAutoContrast) stretch_range(op);
        if (op.code == kOpEqualize) equalize(op);
        gray = pass(next, true, [&, from = held_](int64_t y) {
          row_.top = from.moved(y * n_);
          return std::min(kRowsAtOnce, p_.out_height - y);
        });
        continue;
      }
      ++next;
      // A last blur writes the view: the colours would be written once more, and read, only to be normalised.
      if (op.code == kOpBlur && next == view_.count && !gray_ && n_ % kMaxLanes == 0 && paints_output()) {
        Move move(op, {p_.out_height, n_, 1}, s_.move);
        for (int64_t c = 0; c < channels; ++c) {
          float* to = reinterpret_cast<float*>(out_) + c * plane_;
          move.blur_to(held_.plane[c], {to, row_.gain[c], row_.offset[c], streams()});
        }
        break;
      }
      const bool own_fills = op.code == kOpAffine && (op.fill[0] != op.fill[1] || op.fill[0] != op.fill[2]);
      if (own_fills) gray_ = false;
      const bool alike = gray_;
      const bool apart = !alike && !own_fills && channels > 1 && finishes_channels(next);
      Move move(op, {p_.out_height, n_, alike || apart ? 1 : channels}, s_.move);
      const Planes from = held_;
      const int32_t begin = next;
      for (int64_t c = 0; c < (apart ? channels : 1); ++c) {
        if (apart) select(first_channel + c, 1);
        next = begin;
        gray = pass(next, false, [&](int64_t y) {
          const Planes moved = move.rows(planes(from.plane[c], from.plane[1] - from.plane[0]), y);
          row_.top = alike ? planes(moved.plane[0], 0) : moved;
          return move.count();
        });
      }
      select(first_channel, channels);
    }
    if (resizer.poisoned() || view_.poisoned) poison();
  }

 private:
  void select(int64_t first_channel, int64_t channels) {
    row_.channels = channels;
    row_.gain = p_.gain + first_channel;
    row_.offset = p_.offset + first_channel;
    out_ = view_out_ + first_channel * (p_.channels_last ? 1 : plane_) * pixel_bytes(p_.out_type);
  }

  // Can the channels be finished one after the other? Then the rows that a blur takes stay in L1.
  bool finishes_channels(int32_t next) const {
    while (next < view_.count && works_on_channels(view_.op[next].code)) ++next;
    return next == view_.count && !p_.channels_last;
  }

  // Every row through the operations from `next` on that work on pixels alone, or have what they need of the view
  // (`ready`): to the output if none is left, else to a view that waits. Returns the sum of its gray values then, with
  // `next` at the operation that it waits for. set(y) makes row y the input, and says how many rows lie there one
  // behind the other.
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
    for (int64_t y = 0, count; y < p_.out_height; y += count) {
      count = set(y);
      row_.n = count * n_;
      row_.out = to.moved(y * n_);
      gray += paint(row_);
    }
    held_ = to;
    return gray;
  }

  // Do rows go past the caches from registers? That takes whole cache lines.
  bool streams() const {
    return streamed_ && n_ * sizeof(float) % kLine == 0 && reinterpret_cast<intptr_t>(out_) % kLine == 0;
  }

  // Is the output written by what computes it?
  bool paints_output() const { return streams() || (direct_ && !streamed_); }

  // A large output goes past the caches, row by row: it is not read first, and the view that waits stays in L2.
  template <typename Set>
  double finish(Set set) {
    row_.stream = streams();
    for (int64_t y = 0, count; y < p_.out_height; y += count) {
      count = set(y);
      row_.n = count * n_;
      if (paints_output()) {
        row_.out = planes(reinterpret_cast<float*>(out_), plane_).moved(y * n_);
        paint(row_);
        continue;
      }
      row_.out = planes(s_.row.at_least(3 * padded(row_.n)), padded(row_.n));
      paint(row_);
      write(y * n_, row_.n);
    }
    return 0;
  }

  // n pixels to the output, from pixel `first` of the view on.
  void write(int64_t first, int64_t n) {
    const int64_t pixel = p_.channels_last ? p_.channels : 1, bytes = pixel_bytes(p_.out_type);
    if (p_.channels_last && row_.channels == 3)
      return interleave_rows(row_.out, n, p_.out_type, out_ + first * 3 * bytes);
    for (int64_t c = 0; c < row_.channels; ++c) {
      char* to = out_ + (first * pixel + c * (p_.channels_last ? 1 : plane_)) * bytes;
      if (streamed_) {
        stream(to, row_.out.plane[c], n * bytes);
      } else {
        narrow_row(row_.out.plane[c], n, pixel, p_.out_type, to);
      }
    }
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
      const int64_t step = equalize_step(count, plane_);
      for (int64_t k = 0, lesser = 0; k < 256; lesser += count[k++]) {
        table[256 * c + k] = equalized(lesser, step, static_cast<int32_t>(k));
      }
    }
    for (int64_t c = row_.channels; c < 3; ++c) std::copy_n(table, 256, table + 256 * c);
    op.code = kOpTable;
    op.table = table;
  }

  // A box with NaN or infinity in it gives a view of NaN, never a plausible one; so does a contrast that is not drawn.
  void poison() {
    row_.out = planes(s_.row.at_least(3 * padded(n_)), padded(n_));
    for (float* row : row_.out.plane) std::fill_n(row, n_, std::numeric_limits<float>::quiet_NaN());
    for (int64_t y = 0; y < p_.out_height; ++y) write(y * n_, n_);
  }

  const ImageAugment& p_;
  Scratch& s_;
  const int64_t n_, plane_;
  const bool direct_;    // rows of the output are rows of floats
  const bool streamed_;  // which go past the caches
  int slot_ = 0;
  bool gray_ = false;                          // are the channels alike? Only fills of their own make them differ again
  char *view_out_ = nullptr, *out_ = nullptr;  // the latter of the first selected channel
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
