// What a step has to know of the whole view before it: contrast the sum of its gray values, auto contrast the range of
// every channel, equalize how often each byte is there. The pass before collects it, tile by tile, in the block, and
// where several blocks share the view each leaves its part in memory for all of them. The sums of strips are added in
// one order, whoever made them, and all else that is collected has none: results are the same bits.
//
// `Team` is that of image_augment_walk.h.
#pragma once

#include "image_augment_block.h"
#include "image_augment_waits.h"

namespace sslfast::augment {

// What the lanes share.
struct StatisticsBlock {
  bool poisoned;  // the view is NaN: a mean that contrast needs is no number, or its row makes no sense
  double sum[kThreads], strip[kMostStrips];
  float stretch[kExtremes], table[kCounts];
  union {
    float extreme[kExtremes * kThreads];  // of each lane
    int32_t count[kCounts];
  };
};

// Pixel k of a run, whose values lie channel by channel.
template <int kChannels>
SSLFAST_HD Pixel<float> pixel_of(const float* run, int32_t k) {
  return {run[k], run[(kChannels - 1) / 2 * kRun + k], run[(kChannels - 1) * kRun + k]};
}

// Of one channel, or of a colour's three.
template <int kChannels, typename Team>
struct Statistics {
  static_assert(2 * kChannels <= kExtremes);

  const ImageAugment& p;
  const Walk& w;
  StatisticsBlock& b;
  const int64_t slot;
  const int32_t part;
  const Team& team;

  // Before any tile of a pass after which the view waits for operation `waits`; a barrier follows.
  SSLFAST_HD void begin(int32_t waits) const {
    if (waits == kOpAutoContrast) {
      for (int32_t e = 0; e < 2 * kChannels; ++e) {
        b.extreme[e * kThreads + team.lane] = e % 2 == 0 ? kInfinity : -kInfinity;
      }
    }
    if (waits == kOpEqualize) {
      for (int32_t i = team.lane; i < kCounts; i += team.lanes) b.count[i] = 0;
    }
  }

  // Of n pixels of a run; returns the sum of their gray values if that is asked for.
  SSLFAST_HD double collect(int32_t waits, int32_t n, const float* run) const {
    double sum = 0.0;
    for (int32_t k = 0; k < kRun; ++k) {
      if (k >= n) continue;
      if (waits == kOpContrast) sum += kChannels == 3 ? gray(pixel_of<kChannels>(run, k)) : run[k];
      if (waits == kOpEqualize) {
        for (int32_t c = 0; c < kChannels; ++c) team.add(b.count + 256 * c + to_byte(run[c * kRun + k]), 1);
      }
      if (waits == kOpAutoContrast) {
        for (int32_t c = 0; c < kChannels; ++c) widen(2 * c, run[c * kRun + k], run[c * kRun + k]);
      }
    }
    return sum;
  }

  // The lanes' sums of a strip's gray values.
  SSLFAST_HD void keep_sum(int32_t strip, int32_t turn, double sum) const {
    sum = team_sum(team, b.sum, sum);
    if (team.lane == 0) sums(turn)[strip] = sum;
  }

  // Behind the last tile.
  SSLFAST_HD void end(int32_t waits, int32_t turn) const {
    if (waits == kOpAutoContrast) {
      join_extremes();
      for (int32_t e = team.lane; w.shared() && e < 2 * kChannels; e += team.lanes) {
        extremes(turn)[part * kExtremes + e] = b.extreme[e * kThreads];
      }
    }
    if (waits == kOpEqualize && w.shared()) {
      team.barrier();
      for (int32_t i = team.lane; i < 256 * kChannels; i += team.lanes) {
        if (b.count[i] != 0) team.add(counts(turn) + i, b.count[i]);
      }
    }
  }

  // Into `op`, what was collected in the turn `before` for it.
  SSLFAST_HD void read(Op& op, int32_t before) const {
    const int32_t code = op.code;
    if (code == kOpContrast) {
      read_mean(op, before);
    } else if (code == kOpAutoContrast) {
      read_range(before);
    } else {
      read_counts(before);
    }
    team.barrier();  // all lanes know the code
    if (team.lane == 0 && code == kOpAutoContrast) {
      op.code = kOpStretch;
      op.table = b.stretch;
    }
    if (team.lane == 0 && code == kOpEqualize) op.code = kOpTable;
  }

  // The place where shared views are counted in a turn, while nobody else is there.
  SSLFAST_HD void clear(int32_t turn) const {
    if (!w.counts || part != 0) return;
    for (int32_t i = team.lane; i < kCounts; i += team.lanes) counts(turn)[i] = 0;
  }

 private:
  static constexpr float kInfinity = INFINITY;

  SSLFAST_HD int64_t place(int32_t turn) const { return turn * w.slots + slot; }
  SSLFAST_HD double* sums(int32_t turn) const { return w.shared() ? w.sum + place(turn) * w.strips : b.strip; }
  SSLFAST_HD float* extremes(int32_t turn) const { return w.extreme + place(turn) * w.parts * kExtremes; }
  SSLFAST_HD int32_t* counts(int32_t turn) const { return w.count + place(turn) * kCounts; }

  SSLFAST_HD void widen(int32_t which, float low, float high) const {
    float &least = b.extreme[which * kThreads + team.lane], &most = b.extreme[(which + 1) * kThreads + team.lane];
    if (low < least) least = low;  // NaN is neither
    if (high > most) most = high;
  }

  // Those of all lanes, in lane 0's place.
  SSLFAST_HD void join_extremes() const {
    for (int32_t n = team.lanes; n > 1;) {
      const int32_t half = (n + 1) / 2;
      team.barrier();
      for (int32_t e = 0; team.lane < n - half && e < 2 * kChannels; e += 2) {
        const float* other = b.extreme + e * kThreads + team.lane + half;
        widen(e, other[0], other[kThreads]);
      }
      n = half;
    }
    team.barrier();
  }

  SSLFAST_HD void read_mean(Op& op, int32_t before) const {
    double sum = 0.0;
    for (int32_t i = team.lane; i < w.strips; i += team.lanes) sum += sums(before)[i];
    sum = team_sum(team, b.sum, sum);
    if (team.lane == 0) {
      op.b *= static_cast<float>(sum / static_cast<double>(p.out_height * p.out_width));
      b.poisoned = b.poisoned || !is_number(op.b);
    }
  }

  SSLFAST_HD void read_range(int32_t before) const {
    if (w.shared()) {
      begin(kOpAutoContrast);
      for (int32_t i = team.lane; i < w.parts; i += team.lanes) {
        const float* of = extremes(before) + i * kExtremes;
        for (int32_t e = 0; e < 2 * kChannels; e += 2) widen(e, of[e], of[e + 1]);
      }
      join_extremes();
    }
    for (int32_t c = team.lane; c < kChannels; c += team.lanes) {
      stretch_of(b.extreme[2 * c * kThreads], b.extreme[(2 * c + 1) * kThreads], b.stretch + 2 * c);
    }
  }

  SSLFAST_HD void read_counts(int32_t before) const {
    if (w.shared()) {
      for (int32_t i = team.lane; i < 256 * kChannels; i += team.lanes) b.count[i] = counts(before)[i];
      team.barrier();
    }
    for (int32_t i = team.lane; i < 256 * kChannels; i += team.lanes) {
      const int32_t* count = b.count + i / 256 * 256;
      int64_t lesser = 0;
      for (int32_t k = 0; k < i % 256; ++k) lesser += count[k];
      b.table[i] = equalized(lesser, equalize_step(count, p.out_height * p.out_width), i % 256);
    }
  }
};

}  // namespace sslfast::augment
