// A view made whole by the lanes of a block, tile by tile: the operations on pixels, contrast's mean read from before,
// and one blur whose neighbourhood is made along with the tile. Written once for the GPU, where the lanes are threads,
// and for a test on the CPU, where they take turns between barriers.
//
// `Team` has lane, lanes, barrier() and read_view(p, params, image, view), that of image_augment_view.h. `Memory` is
// what image_augment_resample.h and image_augment_output.h ask for.
#pragma once

#include "image_augment_resample.h"
#include "image_augment_tiles.h"

namespace sslfast::augment {

// What the lanes share.
struct Block {
  View view;
  int32_t contrast, blur;  // which operation is the first of its kind; the count of all where there is none
  bool poisoned;           // the view is NaN: the mean that contrast needs is no number, or its row makes no sense
  Reach reach;
  BlurWeights weight;
  TileTaps taps;
  double sum[kThreads];
};

// The fixed order of a tree: whoever sums the same values has the same sum.
template <typename Team>
SSLFAST_HD double team_sum(const Team& team, double* sum, double value) {
  team.barrier();
  sum[team.lane] = value;
  for (int32_t n = team.lanes; n > 1;) {
    const int32_t half = (n + 1) / 2;
    team.barrier();
    if (team.lane < n - half) sum[team.lane] += sum[team.lane + half];
    n = half;
  }
  team.barrier();
  return sum[0];
}

// NaN and infinity stay, whatever the operations [from, to) would make of them.
SSLFAST_HD Pixel<float> painted(Pixel<float> pixel, const Block& block, int32_t from, int32_t to) {
  const bool bad = block.poisoned || !is_number(pixel.r + pixel.g + pixel.b);
  for (int32_t k = from; k < to; ++k) pixel = apply(block.view.op[k], pixel);
  return bad ? Pixel<float>{NAN, NAN, NAN} : pixel;
}

// Of a pixel's channels; four are an image each.
template <int kChannels>
SSLFAST_HD void paint(float* value, const Block& block, int32_t from, int32_t to) {
  if constexpr (kChannels == 3) {
    const Pixel<float> pixel = painted({value[0], value[1], value[2]}, block, from, to);
    value[0] = pixel.r, value[1] = pixel.g, value[2] = pixel.b;
  } else {
    for (int32_t c = 0; c < kChannels; ++c) value[c] = painted({value[c], value[c], value[c]}, block, from, to).r;
  }
}

// One view's group of channels, by one block. Groups of four are for lists without contrast, whose mean each channel
// would have of its own.
template <typename Memory, bool kBytes, int kChannels, typename Team>
class Maker {
 public:
  SSLFAST_HD Maker(const ImageAugment& p, int64_t item, Block& block, const Team& team)
      : p_(p),
        b_(block),
        team_(team),
        number_(item),
        item_(item_of(p, item, kChannels)),
        from_(p, item_, block.view, block.taps, team) {
    if (team.lane == 0) {
      View& v = block.view;
      const Image image = p.source(item_.row);
      team.read_view(p, p.params + item_.index * p.columns, image, v);
      block.contrast = block.blur = v.count;
      for (int32_t k = v.count - 1; k >= 0; --k) {
        if (v.op[k].code == kOpContrast) block.contrast = k;
        if (v.op[k].code == kOpBlur) block.blur = k;
      }
      block.poisoned = v.poisoned;
      block.reach = block.blur < v.count ? reach_of(v.op[block.blur]) : Reach{0, 0};
    }
    team.barrier();
  }

  SSLFAST_HD bool has_contrast() const { return b_.contrast < b_.view.count; }

  // Of the gray values that contrast finds, one number a tile.
  SSLFAST_HD void sum_gray(const Tiles& tiles, int32_t from, double* sums) {
    for (int32_t tile = from; tile < from + tiles.each && tile < tiles.count; ++tile) {
      place(tiles, tile, Reach{0, 0});
      double sum = 0.0;
      for (int32_t i = team_.lane; i < kTile * kTile; i += team_.lanes) {
        const int32_t y = i / kTile, x = i % kTile;
        if (top_ + y >= height() || left_ + x >= width()) continue;
        const Pixel<float> pixel = painted(from_.pixel(y, x), b_, 0, b_.contrast);
        sum += kChannels == 3 ? gray(pixel) : pixel.r;
      }
      sum = team_sum(team_, b_.sum, sum);
      if (team_.lane == 0) sums[number_ * tiles.count + tile] = sum;
    }
  }

  // `around` has room for Whole::shared_floats.
  SSLFAST_HD void make(const Tiles& tiles, int32_t from, const double* sums, float* around) {
    if (kChannels != 4 && has_contrast()) read_mean(tiles, sums);
    const bool blurred = b_.blur < b_.view.count;
    if (blurred) {
      const float sigma = b_.view.op[b_.blur].a;
      if (team_.lane == 0) gaussian(sigma, b_.reach.across, b_.weight.across);
      if (team_.lane == team_.lanes - 1) gaussian(sigma, b_.reach.down, b_.weight.down);
    }
    for (int32_t tile = from; tile < from + tiles.each && tile < tiles.count; ++tile) {
      place(tiles, tile, b_.reach);
      if (blurred) blur_across(around);
      const float* across = around + kChannels * side() * rows_at_once(kChannels, tall());
      for (int32_t i = team_.lane; i < kTile * kTile / kRun; i += team_.lanes) {
        const int32_t y = i / (kTile / kRun), x = i % (kTile / kRun) * kRun;
        if (top_ + y >= height() || left_ + x >= width()) continue;
        const int32_t n = width() - left_ - x < kRun ? width() - left_ - x : kRun;
        float value[kChannels * kRun];  // channel by channel
        const bool copied = !blurred && n == kRun && from_.copy_run(y, x, value);
        for (int32_t k = 0; k < kRun; ++k) {
          float pixel[kChannels] = {};
          if (copied) {
            for (int32_t c = 0; c < kChannels; ++c) pixel[c] = value[c * kRun + k];
          } else if (k < n) {
            blurred ? blur_down(across, y, x + k, pixel) : from_.read(y, x + k, pixel);
          }
          paint<kChannels>(pixel, b_, blurred ? b_.blur + 1 : 0, b_.view.count);
          for (int32_t c = 0; c < kChannels; ++c) value[c * kRun + k] = pixel[c];
        }
        Output<Memory, kChannels>{p_}.write(item_, top_ + y, left_ + x, n, value);
      }
    }
  }

 private:
  SSLFAST_HD int32_t height() const { return static_cast<int32_t>(p_.out_height); }
  SSLFAST_HD int32_t width() const { return static_cast<int32_t>(p_.out_width); }
  SSLFAST_HD int32_t side() const { return kTile + 2 * reach_.across; }
  SSLFAST_HD int32_t tall() const { return kTile + 2 * reach_.down; }

  SSLFAST_HD void read_mean(const Tiles& tiles, const double* sums) {
    double sum = 0.0;
    for (int32_t i = team_.lane; i < tiles.count; i += team_.lanes) sum += sums[number_ * tiles.count + i];
    sum = team_sum(team_, b_.sum, sum);
    if (team_.lane == 0) {
      Op& op = b_.view.op[b_.contrast];
      op.b *= static_cast<float>(sum / (static_cast<double>(p_.out_height) * static_cast<double>(p_.out_width)));
      b_.poisoned = b_.poisoned || !is_number(op.b);
    }
  }

  SSLFAST_HD void place(const Tiles& tiles, int32_t tile, Reach reach) {
    reach_ = reach;
    top_ = tile / tiles.across * kTile;
    left_ = tile % tiles.across * kTile;
    from_.place(top_, left_, reach);
  }

  // The tile and its neighbourhood up to the blur, some rows at once, and behind them the rows of all, blurred.
  SSLFAST_HD void blur_across(float* around) const {
    const int32_t most = rows_at_once(kChannels, tall()), plane = side() * most;
    float* across = around + kChannels * plane;
    for (int32_t first = 0; first < tall(); first += most) {
      const int32_t rows = tall() - first < most ? tall() - first : most;
      for (int32_t i = team_.lane; i < rows * side(); i += team_.lanes) {
        float pixel[kChannels];
        from_.read(first + i / side(), i % side(), pixel);
        paint<kChannels>(pixel, b_, 0, b_.blur);
        for (int32_t c = 0; c < kChannels; ++c) around[c * plane + i] = pixel[c];
      }
      team_.barrier();
      for (int32_t c = 0; c < kChannels; ++c) {
        const float* row = around + c * plane + reach_.across;
        float* to = across + (c * tall() + first) * kAcross;
        for (int32_t i = team_.lane; i < rows * kTile; i += team_.lanes) {
          to[i / kTile * kAcross + i % kTile] =
              weighed(row + i / kTile * side() + i % kTile, 1, b_.weight.across, reach_.across);
        }
      }
      team_.barrier();
    }
  }

  SSLFAST_HD void blur_down(const float* across, int32_t y, int32_t x, float* value) const {
    for (int32_t c = 0; c < kChannels; ++c) {
      value[c] = weighed(across + (c * tall() + y + reach_.down) * kAcross + x, kAcross, b_.weight.down, reach_.down);
    }
  }

  const ImageAugment& p_;
  Block& b_;
  const Team team_;
  const int64_t number_;
  const Item item_;
  SourceTile<Memory, kBytes, kChannels, Team> from_;
  Reach reach_{0, 0};
  int32_t top_ = 0, left_ = 0;
};

}  // namespace sslfast::augment
