// A view of any list of steps, made by the lanes of a block that walk over it pass by pass, tile by tile. Between two
// passes it waits in memory as planes of floats; what lies between is done in registers. What a pass has to know of the
// whole view, gray values or a range or how often each byte is there, is collected by the pass before it.
//
// A block may have the view to itself, or a part of its strips: then every pass is a launch. The sums of strips are
// added in one order, whoever made them, and all else that is collected has none: results are the same bits.
//
// `Team` has lane, lanes, barrier(), add(at, n), which other lanes and blocks may do to the same number, and
// read_view(p, params, image, view). `Memory` is what image_augment_resample.h and image_augment_output.h ask for, and
// has four(at, value) and put_four(at, value), of four floats that wait.
#pragma once

#include "image_augment_block.h"
#include "image_augment_moved.h"
#include "image_augment_waits.h"

namespace sslfast::augment {

// What the lanes share. What is the same for all of them and not always in use is here, not in registers.
struct WalkBlock {
  View view;
  Item item;
  int64_t slot;  // of the memory
  int32_t part;  // of the view
  TileTaps taps;
  BlurWeights weight;
  bool poisoned;  // a mean that contrast needs is no number
  double sum[kThreads], strip[kMostStrips];
  float stretch[kExtremes], table[kCounts];
  union {
    float extreme[kExtremes * kThreads];  // of each lane
    int32_t count[kCounts];
  };
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
  // `slot` of the memory, `part` of the view. `around` has room for Waits::shared_floats, from a multiple of 16 bytes
  // on.
  SSLFAST_HD Walker(const ImageAugment& p, const Walk& w, int64_t item, int64_t slot, int32_t part, WalkBlock& block,
                    float* around, const Team& team)
      : p_(p), w_(w), b_(block), around_(around), team_(team) {
    team.barrier();  // the view before is done
    if (team.lane == 0) {
      const Item now = item_of(p, item, kChannels);
      block.item = now;
      block.slot = slot;
      block.part = part;
      const Image image = p.source(now.row);
      team.read_view(p, p.params + now.index * p.columns, image, block.view);
      set_fills(p, now.group * kChannels, block.view);
      split_wide_blurs(block.view);
      block.poisoned = false;
    }
    team.barrier();
  }

  // Passes [first, last), as far as the view has them.
  SSLFAST_HD void walk(int32_t first, int32_t last) {
    const View& v = b_.view;
    int32_t from = 0, to = wait_from(0);
    for (int32_t pass = 0; pass < last; ++pass) {
      if (pass > 0) {
        if (to == v.count) return;
        from = to;
        to = wait_from(from + 1);
      }
      moved_ = pass > 0 && moves_pixels(v.op[from].code);
      if (moved_) held_ = 1 - held_;
      if (pass >= first) make(pass, from, to);
    }
  }

 private:
  SSLFAST_HD int32_t height() const { return static_cast<int32_t>(p_.out_height); }
  SSLFAST_HD int32_t width() const { return static_cast<int32_t>(p_.out_width); }

  // The first operation from k on that the view has to wait for.
  SSLFAST_HD int32_t wait_from(int32_t k) const {
    while (k < b_.view.count && works_on_pixels(b_.view.op[k].code)) ++k;
    return k;
  }

  SSLFAST_HD float* planes(int32_t buffer) const { return w_.planes + (buffer * w_.slots + b_.slot) * w_.slot; }

  // Of the pass, where parts are shared: those of two passes lie by turns in two places.
  SSLFAST_HD int64_t turn(int32_t pass) const { return pass % 2 * w_.slots + b_.slot; }
  SSLFAST_HD double* sums(int32_t pass) const { return w_.shared ? w_.sum + turn(pass) * kMostStrips : b_.strip; }
  SSLFAST_HD float* extremes(int32_t pass) const { return w_.extreme + turn(pass) * kMostStrips * kExtremes; }
  SSLFAST_HD int32_t* counts(int32_t pass) const { return w_.count + turn(pass) * kCounts; }
  SSLFAST_HD bool& poisoned(int32_t pass) const { return w_.poisoned[turn(pass)]; }

  // The operations [from, to), the first of which may be the one that the view waited for.
  SSLFAST_HD void make(int32_t pass, int32_t from, int32_t to) {
    const View& v = b_.view;
    const int32_t waits = to < v.count ? v.op[to].code : kNothing;
    team_.barrier();  // what the pass before left is there
    if (w_.shared && pass > 0 && team_.lane == 0) b_.poisoned = poisoned(pass - 1);  // by another launch
    if (moved_) waiting(from).weigh(b_.weight);
    if (pass > 0 && !moved_) read_statistics(b_.view.op[from], pass - 1);
    begin_statistics(waits);
    team_.barrier();
    const Pass now{pass, moved_ ? from + 1 : from, to, waits};
    const int32_t end = (b_.part + 1) * w_.strips / w_.parts;
    for (int32_t strip = b_.part * w_.strips / w_.parts; strip < end; ++strip) {
      double gray_sum = 0.0;
      for (int32_t tile = strip * w_.each; tile < (strip + 1) * w_.each && tile < w_.tiles; ++tile) {
        gray_sum += make_tile(tile, now);
      }
      if (waits == kOpContrast) {
        gray_sum = team_sum(team_, b_.sum, gray_sum);
        if (team_.lane == 0) sums(pass)[strip] = gray_sum;
      }
    }
    if (w_.shared && b_.part == 0 && team_.lane == 0) poisoned(pass) = b_.poisoned;
    finish_statistics(waits, pass);
  }

  struct Pass {
    int32_t number, from, to, waits;  // operations on pixels, and what the view waits for after them
  };

  // Returns the sum of the lane's gray values if contrast comes next.
  SSLFAST_HD double make_tile(int32_t tile, const Pass& pass) {
    const int32_t top = tile / w_.across * kTile, left = tile % w_.across * kTile;
    if (pass.number == 0) source().place(top, left, Reach{0, 0});
    if (moved_) waiting(pass.from - 1).place(top, left);
    double gray_sum = 0.0;
    for (int32_t i = team_.lane; i < kTile * kTile / kRun; i += team_.lanes) {
      const int32_t y = i / (kTile / kRun), x = i % (kTile / kRun) * kRun;
      if (top + y >= height() || left + x >= width()) continue;
      const int32_t n = width() - left - x < kRun ? width() - left - x : kRun;
      float value[kChannels * kRun];  // channel by channel
      if (pass.number == 0) {
        read_source(y, x, n, value);
      } else if (moved_) {
        waiting(pass.from - 1).read(top, left, y, x, value);
      } else {
        waiting(0).read_as_it_is(top + y, left + x, value);
      }
      paint(pass, value);
      if (pass.waits == kNothing) {
        Output<Memory, kChannels>{p_}.write(b_.item, top + y, left + x, n, value);
        continue;
      }
      float* at = planes(held_) + int64_t{top + y} * w_.pitch + left + x;
      for (int32_t c = 0; c < kChannels; ++c) Memory::put_four(at + c * w_.plane, value + c * kRun);
      gray_sum += collect(pass.waits, n, value);
    }
    return gray_sum;
  }

  SSLFAST_HD SourceTile<Memory, kBytes, kChannels, Team> source() const {
    return {p_, b_.item, b_.view, b_.taps, team_};
  }

  // What the view is before the pass, moved by operation `op`.
  SSLFAST_HD Moved<Memory, kChannels, Team> waiting(int32_t op) const {
    return {planes(moved_ ? 1 - held_ : held_),
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
      Pixel<float> pixel{0.0f, 0.0f, 0.0f};
      if (k < n) pixel = from.pixel(y, x + k);
      put(k, pixel, value);
    }
  }

  static SSLFAST_HD Pixel<float> get(int32_t k, const float* value) {
    return {value[k], value[(kChannels - 1) / 2 * kRun + k], value[(kChannels - 1) * kRun + k]};
  }

  static SSLFAST_HD void put(int32_t k, const Pixel<float>& pixel, float* value) {
    value[k] = pixel.r;
    if constexpr (kChannels == 3) {
      value[kRun + k] = pixel.g;
      value[2 * kRun + k] = pixel.b;
    }
  }

  // NaN and infinity stay, whatever the operations would make of them.
  SSLFAST_HD void paint(const Pass& pass, float* value) const {
    for (int32_t k = 0; k < kRun; ++k) {
      Pixel<float> pixel = get(k, value);
      const bool bad = b_.poisoned || !is_number(pixel.r + pixel.g + pixel.b);
      for (int32_t i = pass.from; i < pass.to; ++i) {
        const Op& op = b_.view.op[i];
        if (op.code == kOpTable) {
          pixel = {b_.table[to_byte(pixel.r)], b_.table[256 + to_byte(pixel.g)], b_.table[512 + to_byte(pixel.b)]};
        } else {
          pixel = apply(op, pixel);
        }
      }
      put(k, bad ? Pixel<float>{NAN, NAN, NAN} : pixel, value);
    }
  }

  // What the next pass needs of n pixels; returns the sum of their gray values if it needs that.
  SSLFAST_HD double collect(int32_t waits, int32_t n, const float* value) const {
    double sum = 0.0;
    for (int32_t k = 0; k < kRun; ++k) {
      if (k >= n) continue;
      if (waits == kOpContrast) sum += kChannels == 3 ? gray(get(k, value)) : value[k];
      if (waits == kOpEqualize) {
        for (int32_t c = 0; c < kChannels; ++c) team_.add(b_.count + 256 * c + to_byte(value[c * kRun + k]), 1);
      }
      if (waits == kOpAutoContrast) {
        for (int32_t c = 0; c < kChannels; ++c) widen(2 * c, team_.lane, value[c * kRun + k], value[c * kRun + k]);
      }
    }
    return sum;
  }

  SSLFAST_HD void widen(int32_t which, int32_t lane, float low, float high) const {
    float &least = b_.extreme[which * kThreads + lane], &most = b_.extreme[(which + 1) * kThreads + lane];
    if (low < least) least = low;  // NaN is neither
    if (high > most) most = high;
  }

  SSLFAST_HD void begin_statistics(int32_t waits) const {
    if (waits == kOpAutoContrast) {
      for (int32_t e = 0; e < 2 * kChannels; ++e) {
        b_.extreme[e * kThreads + team_.lane] = e % 2 == 0 ? kInfinity : -kInfinity;
      }
    }
    if (waits == kOpEqualize) {
      for (int32_t i = team_.lane; i < kCounts; i += team_.lanes) b_.count[i] = 0;
    }
  }

  SSLFAST_HD void finish_statistics(int32_t waits, int32_t pass) const {
    if (waits == kOpAutoContrast) {
      join_extremes();
      for (int32_t e = team_.lane; w_.shared && e < 2 * kChannels; e += team_.lanes) {
        extremes(pass)[b_.part * kExtremes + e] = b_.extreme[e * kThreads];
      }
    }
    if (waits == kOpEqualize && w_.shared) {
      team_.barrier();
      for (int32_t i = team_.lane; i < 256 * kChannels; i += team_.lanes) {
        if (b_.count[i] != 0) team_.add(counts(pass) + i, b_.count[i]);
      }
    }
  }

  // Those of all lanes, in lane 0's place.
  SSLFAST_HD void join_extremes() const {
    for (int32_t n = team_.lanes; n > 1;) {
      const int32_t half = (n + 1) / 2;
      team_.barrier();
      for (int32_t e = 0; team_.lane < n - half && e < 2 * kChannels; e += 2) {
        const float* other = b_.extreme + e * kThreads + team_.lane + half;
        widen(e, team_.lane, other[0], other[kThreads]);
      }
      n = half;
    }
    team_.barrier();
  }

  // What `pass` collected, for the operation that waited for it.
  SSLFAST_HD void read_statistics(Op& op, int32_t pass) {
    const int64_t pixels = p_.out_height * p_.out_width;
    const int32_t code = op.code;
    if (code == kOpContrast) {
      double sum = 0.0;
      for (int32_t i = team_.lane; i < w_.strips; i += team_.lanes) sum += sums(pass)[i];
      sum = team_sum(team_, b_.sum, sum);
      if (team_.lane == 0) {
        op.b *= static_cast<float>(sum / static_cast<double>(pixels));
        b_.poisoned = b_.poisoned || !is_number(op.b);
      }
    } else if (code == kOpAutoContrast) {
      if (w_.shared) {
        begin_statistics(kOpAutoContrast);
        for (int32_t i = team_.lane; i < w_.parts; i += team_.lanes) {
          const float* of = extremes(pass) + i * kExtremes;
          for (int32_t e = 0; e < 2 * kChannels; e += 2) widen(e, team_.lane, of[e], of[e + 1]);
        }
        join_extremes();
      }
      for (int32_t c = team_.lane; c < kChannels; c += team_.lanes) {
        stretch_of(b_.extreme[2 * c * kThreads], b_.extreme[(2 * c + 1) * kThreads], b_.stretch + 2 * c);
      }
    } else {
      if (w_.shared) {
        for (int32_t i = team_.lane; i < 256 * kChannels; i += team_.lanes) b_.count[i] = counts(pass)[i];
        team_.barrier();
      }
      for (int32_t i = team_.lane; i < 256 * kChannels; i += team_.lanes) {
        const int32_t* count = b_.count + i / 256 * 256;
        int64_t lesser = 0;
        for (int32_t k = 0; k < i % 256; ++k) lesser += count[k];
        b_.table[i] = equalized(lesser, equalize_step(count, pixels), i % 256);
      }
    }
    team_.barrier();  // all lanes know the code
    if (team_.lane == 0 && code == kOpAutoContrast) {
      op.code = kOpStretch;
      op.table = b_.stretch;
    }
    if (team_.lane == 0 && code == kOpEqualize) op.code = kOpTable;
  }

  static constexpr int32_t kNothing = -1;
  static constexpr float kInfinity = INFINITY;

  const ImageAugment& p_;
  const Walk& w_;
  WalkBlock& b_;
  float* around_;
  const Team team_;
  int32_t held_ = 0;    // the buffer in which the view waits
  bool moved_ = false;  // does the pass begin with an operation that moves pixels?
};

}  // namespace sslfast::augment
