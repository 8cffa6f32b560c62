// A view of any list of steps, made by the lanes of a block that walk over it pass by pass, tile by tile. Between two
// passes it waits in memory as planes of floats; what lies between is done in registers. What a pass has to know of the
// whole view, gray values or a range or how often each byte is there, is collected by the pass before it.
//
// Four channels are images of their own that are made together, for lists in which nothing is collected.
//
// A block has views to itself, one after the other, or a part of the strips of one that other blocks share: then all
// blocks of the launch wait for each other between two passes. Results are the same bits.
//
// `Team` has lane, lanes, barrier(), meet(), which waits for the lanes of all blocks and leaves what they wrote for
// all to read, add(at, n), which other lanes and blocks may do to the same number, and read_view(p, params, image,
// view). `Memory` is what image_augment_resample.h and image_augment_output.h ask for, and has four(at, value) and
// put_four(at, value), of four floats that wait.
#pragma once

#include "image_augment_moved.h"
#include "image_augment_statistics.h"

namespace sslfast::augment {

// One walk over a view.
struct Pass {
  bool first, moved;       // over the source; beginning with an operation that moves pixels, which is the one before
  int32_t from, to, held;  // the operations on pixels; the buffer in which the view waits after them
  int32_t waits;           // for this operation
};

// What the lanes share. What is the same for all of them and not always in use is here, not in registers.
struct WalkBlock {
  View view;
  Item item;
  Pass pass;
  int64_t slot;  // of the memory
  int32_t part;  // of the view
  TileTaps taps;
  BlurWeights weight;
  StatisticsBlock known;
};

// A blur too wide for shared memory goes across and then down.
SSLFAST_HD void split_wide_blurs(View& v) {
  for (int32_t k = 0; k < v.count && v.count < kMaxOps; ++k) {
    if (v.op[k].code != kOpBlur || is_near(reach_of(v.op[k]))) continue;
    for (int32_t i = v.count++; i > k; --i) v.op[i] = v.op[i - 1];
    v.op[k].c = v.op[k + 1].b = 1.0f;
    ++k;
  }
}

template <typename Memory, bool kBytes, int kChannels, typename Team>
class Walker {
 public:
  // For block `number` of those of `w`. `around` has room for Waits::shared_floats, from a multiple of 16 bytes on.
  SSLFAST_HD Walker(const ImageAugment& p, const Walk& w, int64_t number, WalkBlock& block, float* around,
                    const Team& team)
      : p_(p), w_(w), b_(block), around_(around), team_(team) {
    if (team.lane == 0) {
      block.slot = number / w.parts;
      block.part = static_cast<int32_t>(number % w.parts);
    }
    team.barrier();
  }

  // All views of the block. Where views are shared, every block meets all others as often, whatever its view draws, and
  // counts of three passes are in three places: one is added to, the one before is read, the one after cleared.
  SSLFAST_HD void walk() {
    int32_t turn = kTurns - 1;
    if constexpr (kCollects) {
      if (w_.shared()) statistics().clear(0);
    }
    for (int64_t first = 0; first < w_.items; first += w_.slots) {
      const bool busy = first + b_.slot < w_.items;
      if (busy) begin(first + b_.slot);
      for (int32_t pass = 0; pass < w_.passes; ++pass) {
        if (w_.shared()) {
          if (first > 0 || pass > 0 || w_.counts) team_.meet();
          turn = after(turn);
          if constexpr (kCollects) statistics().clear(after(turn));
        }
        if (busy && go_on(pass)) {
          make(turn);
        } else if (!w_.shared()) {
          break;
        }
      }
    }
  }

 private:
  static SSLFAST_HD int32_t after(int32_t turn) { return turn + 1 < kTurns ? turn + 1 : 0; }
  static SSLFAST_HD int32_t before(int32_t turn) { return turn > 0 ? turn - 1 : kTurns - 1; }

  SSLFAST_HD int32_t height() const { return static_cast<int32_t>(p_.out_height); }
  SSLFAST_HD int32_t width() const { return static_cast<int32_t>(p_.out_width); }

  SSLFAST_HD void begin(int64_t item) {
    team_.barrier();  // the view before is done
    if (team_.lane == 0) {
      const Item now = item_of(p_, item, kChannels);
      b_.item = now;
      const Image image = p_.source(now.row);
      team_.read_view(p_, p_.params + now.index * p_.columns, image, b_.view);
      set_fills(p_, now.group * kChannels, kChannels, b_.view);
      split_wide_blurs(b_.view);
      b_.known.poisoned = b_.view.poisoned;
    }
    team_.barrier();
  }

  // To the next pass, if the view has one.
  SSLFAST_HD bool go_on(int32_t number) {
    team_.barrier();  // what the pass before left is there
    if (team_.lane == 0) {
      const View& v = b_.view;
      Pass& pass = b_.pass;
      if (number == 0) pass = {true, false, 0, 0, 0, kNothing};
      const int32_t waited = pass.waits;
      pass.first = number == 0;
      pass.moved = moves_pixels(waited);
      pass.held = pass.moved ? 1 - pass.held : pass.held;
      pass.from = pass.moved ? pass.to + 1 : pass.to;
      if (number > 0) ++pass.to;  // past the last operation if the view has waited for none
      while (pass.to < v.count && works_on_pixels(v.op[pass.to].code)) ++pass.to;
      pass.waits = pass.to < v.count ? v.op[pass.to].code : kNothing;
    }
    team_.barrier();
    return b_.pass.to <= b_.view.count;
  }

  SSLFAST_HD float* planes(int32_t buffer) const { return w_.planes + (buffer * w_.slots + b_.slot) * w_.slot; }

  SSLFAST_HD Statistics<kChannels, Team> statistics() const { return {p_, w_, b_.known, b_.slot, b_.part, team_}; }

  SSLFAST_HD void make(int32_t turn) {
    const Pass& pass = b_.pass;
    if (pass.moved) waiting(pass.from - 1).weigh(b_.weight);
    if constexpr (kCollects) {
      if (!pass.first && !pass.moved) statistics().read(b_.view.op[pass.from], before(turn));
      statistics().begin(pass.waits);
    }
    team_.barrier();
    const int32_t end = (b_.part + 1) * w_.strips / w_.parts;
    for (int32_t strip = b_.part * w_.strips / w_.parts; strip < end; ++strip) {
      double gray_sum = 0.0;
      for (int32_t tile = strip * w_.each; tile < (strip + 1) * w_.each && tile < w_.tiles; ++tile) {
        gray_sum += make_tile(tile);
      }
      if constexpr (kCollects) {
        if (pass.waits == kOpContrast) statistics().keep_sum(strip, turn, gray_sum);
      }
    }
    if constexpr (kCollects) statistics().end(pass.waits, turn);
  }

  // Returns the sum of the lane's gray values if contrast comes next.
  SSLFAST_HD double make_tile(int32_t tile) {
    const Pass& pass = b_.pass;
    const int32_t top = tile / w_.across * kTile, left = tile % w_.across * kTile;
    if (pass.first) source().place(top, left, Reach{0, 0});
    if (pass.moved) waiting(pass.from - 1).place(top, left);
    double gray_sum = 0.0;
    for (int32_t i = team_.lane; i < kTile * kTile / kRun; i += team_.lanes) {
      const int32_t y = i / (kTile / kRun), x = i % (kTile / kRun) * kRun;
      if (top + y >= height() || left + x >= width()) continue;
      const int32_t n = width() - left - x < kRun ? width() - left - x : kRun;
      float value[kChannels * kRun];  // channel by channel
      if (pass.first) {
        read_source(y, x, n, value);
      } else if (pass.moved) {
        waiting(pass.from - 1).read(top, left, y, x, value);
      } else {
        waiting(0).read_as_it_is(top + y, left + x, value);
      }
      paint(value);
      if (pass.waits == kNothing) {
        Output<Memory, kChannels>{p_}.write(b_.item, top + y, left + x, n, value);
        continue;
      }
      float* at = planes(pass.held) + int64_t{top + y} * w_.pitch + left + x;
      for (int32_t c = 0; c < kChannels; ++c) Memory::put_four(at + c * w_.plane, value + c * kRun);
      if constexpr (kCollects) gray_sum += statistics().collect(pass.waits, n, value);
    }
    return gray_sum;
  }

  SSLFAST_HD SourceTile<Memory, kBytes, kChannels, Team> source() const {
    return {p_, b_.item, b_.view, b_.taps, team_};
  }

  // What the view is before the pass, moved by operation `op`.
  SSLFAST_HD Moved<Memory, kChannels, Team> waiting(int32_t op) const {
    return {planes(b_.pass.moved ? 1 - b_.pass.held : b_.pass.held),
            w_.plane,
            w_.pitch,
            height(),
            width(),
            b_.view.op[op],
            b_.weight,
            around_,
            team_};
  }

  SSLFAST_HD void read_source(int32_t y, int32_t x, int32_t n, float* value) const {
    const auto from = source();
    if (n == kRun && from.copy_run(y, x, value)) return;
    for (int32_t k = 0; k < kRun; ++k) {
      float pixel[kChannels] = {};
      if (k < n) from.read(y, x + k, pixel);
      for (int32_t c = 0; c < kChannels; ++c) value[c * kRun + k] = pixel[c];
    }
  }

  static SSLFAST_HD void put(int32_t k, const Pixel<float>& pixel, float* value) {
    value[k] = pixel.r;
    if constexpr (kChannels == 3) {
      value[kRun + k] = pixel.g;
      value[2 * kRun + k] = pixel.b;
    }
  }

  // NaN and infinity stay, whatever the operations would make of them.
  SSLFAST_HD void paint(float* value) const {
    if constexpr (kChannels == 4) {
      paint_channels(value);
    } else {
      paint_pixels(value);
    }
  }

  SSLFAST_HD void paint_pixels(float* value) const {
    const Pass& pass = b_.pass;
    for (int32_t k = 0; k < kRun; ++k) {
      Pixel<float> pixel = pixel_of<kChannels>(value, k);
      const bool bad = b_.known.poisoned || !is_number(pixel.r + pixel.g + pixel.b);
      for (int32_t i = pass.from; i < pass.to; ++i) {
        const Op& op = b_.view.op[i];
        if (op.code == kOpTable) {
          pixel = {b_.known.table[to_byte(pixel.r)], b_.known.table[256 + to_byte(pixel.g)],
                   b_.known.table[512 + to_byte(pixel.b)]};
        } else {
          pixel = apply(op, pixel);
        }
      }
      put(k, bad ? Pixel<float>{NAN, NAN, NAN} : pixel, value);
    }
  }

  SSLFAST_HD void paint_channels(float* value) const {
    bool bad[kChannels * kRun];
    for (int32_t i = 0; i < kChannels * kRun; ++i) bad[i] = b_.known.poisoned || !is_number(value[i]);
    for (int32_t k = b_.pass.from; k < b_.pass.to; ++k) {
      for (int32_t i = 0; i < kChannels * kRun; ++i) value[i] = apply_to_channel(b_.view.op[k], value[i]);
    }
    for (int32_t i = 0; i < kChannels * kRun; ++i) value[i] = bad[i] ? NAN : value[i];
  }

  static constexpr bool kCollects = kChannels != 4;
  static constexpr int32_t kNothing = -1;

  const ImageAugment& p_;
  const Walk& w_;
  WalkBlock& b_;
  float* around_;
  const Team team_;
};

}  // namespace sslfast::augment
