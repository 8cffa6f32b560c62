// A view made whole by the lanes of a block, tile by tile: the operations on pixels, contrast's mean read from before,
// and one blur whose neighbourhood is made along with the tile. Written once for the GPU, where the lanes are threads,
// and for a test on the CPU, where they take turns between barriers.
//
// `Team` has lane, lanes, barrier() and read_view(p, params, image, view), that of image_augment_view.h. `Memory` has
// load<kBytes>(pixels, type, i), store(out, type, i, x) and store_four(out, type, i, x), which writes four elements at
// an address that is a multiple of their size, and what image_augment_reads.h asks for.
#pragma once

#include "image_augment_reads.h"
#include "image_augment_tiles.h"

namespace sslfast::augment {

// What the lanes share.
struct Block {
  View view;
  int32_t contrast, blur;  // which operation is the first of its kind; the count of all where there is none
  bool poisoned;           // the mean that contrast needs is no number
  Reach reach;
  BlurWeights weight;
  TileAxis across, down;
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
  const bool bad = block.poisoned || !(absolute(pixel.r + pixel.g + pixel.b) <= kLargestFloat);
  for (int32_t k = from; k < to; ++k) pixel = apply(block.view.op[k], pixel);
  return bad ? Pixel<float>{NAN, NAN, NAN} : pixel;
}

// One view's group of channels, by one block.
template <typename Memory, bool kBytes, int kChannels, typename Team>
class Maker {
 public:
  // `item` counts (image, view, group).
  SSLFAST_HD Maker(const ImageAugment& p, int64_t item, Block& block, const Team& team)
      : p_(p), b_(block), team_(team), item_(item) {
    const int64_t groups = p.channels / kChannels, index = item / groups;
    group_ = item % groups;
    row_ = index / p.views;
    view_ = index % p.views;
    from_ = {p.source(row_), p.in};
    if (team.lane == 0) {
      View& v = block.view;
      const Image image = from_.image;  // whose address a call takes: from_ stays in registers
      team.read_view(p, p.params + index * p.columns, image, v);
      block.contrast = block.blur = v.count;
      for (int32_t k = v.count - 1; k >= 0; --k) {
        if (v.op[k].code == kOpContrast) block.contrast = k;
        if (v.op[k].code == kOpBlur) block.blur = k;
      }
      block.poisoned = false;
      block.reach = block.blur < v.count ? reach_of(v.op[block.blur]) : Reach{0, 0};
    }
    team.barrier();
    const int64_t first = group_ * kChannels;
    fill_ = p.step[0].setting[2];
    outside_ = kChannels == 3
                   ? Pixel<float>{p.fill_of(fill_, first), p.fill_of(fill_, first + 1), p.fill_of(fill_, first + 2)}
                   : Pixel<float>{p.fill_of(fill_, first), p.fill_of(fill_, first), p.fill_of(fill_, first)};
    corner_ = group_ * kChannels * from_.image.channel_stride + block.view.top * from_.image.height_stride +
              block.view.left * from_.image.width_stride;
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
        const Pixel<float> pixel = painted(source(y, x), b_, 0, b_.contrast);
        sum += kChannels == 3 ? gray(pixel) : pixel.r;
      }
      sum = team_sum(team_, b_.sum, sum);
      if (team_.lane == 0) sums[item_ * tiles.count + tile] = sum;
    }
  }

  // `around` has room for kChannels tiles with their neighbourhood, and behind it for as many blurred across.
  SSLFAST_HD void make(const Tiles& tiles, int32_t from, const double* sums, float* around) {
    if (has_contrast()) read_mean(tiles, sums);
    const bool blurred = b_.blur < b_.view.count;
    if (blurred) {
      const float sigma = b_.view.op[b_.blur].a;
      if (team_.lane == 0) gaussian(sigma, b_.reach.across, b_.weight.across);
      if (team_.lane == team_.lanes - 1) gaussian(sigma, b_.reach.down, b_.weight.down);
    }
    for (int32_t tile = from; tile < from + tiles.each && tile < tiles.count; ++tile) {
      place(tiles, tile, b_.reach);
      if (blurred) blur_across(around);
      const float* across = around + kChannels * side() * tall();
      for (int32_t i = team_.lane; i < kTile * kTile / kRun; i += team_.lanes) {
        const int32_t y = i / (kTile / kRun), x = i % (kTile / kRun) * kRun;
        if (top_ + y >= height() || left_ + x >= width()) continue;
        const int32_t n = width() - left_ - x < kRun ? width() - left_ - x : kRun;
        float value[kChannels * kRun];  // channel by channel
        const bool copied = !blurred && n == kRun && copy_run(y, x, value);
        for (int32_t k = 0; k < kRun; ++k) {
          Pixel<float> pixel{0.0f, 0.0f, 0.0f};
          if (copied) {
            pixel = {value[k], value[(kChannels - 1) / 2 * kRun + k], value[(kChannels - 1) * kRun + k]};
          } else if (k < n) {
            pixel = blurred ? blurred_down(across, y, x + k) : source(y, x + k);
          }
          pixel = painted(pixel, b_, blurred ? b_.blur + 1 : 0, b_.view.count);
          value[k] = pixel.r;
          if constexpr (kChannels == 3) {
            value[kRun + k] = pixel.g;
            value[2 * kRun + k] = pixel.b;
          }
        }
        write(y, x, n, value);
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
    for (int32_t i = team_.lane; i < tiles.count; i += team_.lanes) sum += sums[item_ * tiles.count + i];
    sum = team_sum(team_, b_.sum, sum);
    if (team_.lane == 0) {
      Op& op = b_.view.op[b_.contrast];
      op.b *= static_cast<float>(sum / (static_cast<double>(p_.out_height) * static_cast<double>(p_.out_width)));
      b_.poisoned = !(absolute(op.b) <= kLargestFloat);
    }
  }

  // The tile and `reach` more on each side, from now on: what every column and row of it takes from the source.
  SSLFAST_HD void place(const Tiles& tiles, int32_t tile, Reach reach) {
    reach_ = reach;
    top_ = tile / tiles.across * kTile;
    left_ = tile % tiles.across * kTile;
    team_.barrier();  // the tile before is done
    const View& v = b_.view;
    const int32_t interpolation = static_cast<int32_t>(p_.step[0].setting[0]);
    const bool antialias = p_.step[0].setting[1] != 0.0f;
    const int32_t padding = padding_of(fill_);
    // Reads of four bytes need the neighbours that have no weight, so that three taps are one read.
    const bool fours = kBytes && from_.is_dense();
    if (team_.lane < side()) {
      const Axis axis(v.width, v.target_width, interpolation, antialias);
      for (int32_t i = team_.lane; i < side(); i += team_.lanes) {
        const int32_t x = reflected(left_ + i - reach.across, width());
        b_.across.set(i, axis, v.offset_left + (v.flip_left_right ? width() - 1 - x : x), padding, 1.0f, fours);
      }
    }
    const int32_t lane = team_.lanes - 1 - team_.lane;
    if (lane < tall()) {
      const Axis axis(v.height, v.target_height, interpolation, antialias);
      for (int32_t i = lane; i < tall(); i += team_.lanes) {
        const int32_t y = reflected(top_ + i - reach.down, height());
        b_.down.set(i, axis, v.offset_top + (v.flip_upside_down ? height() - 1 - y : y), padding,
                    kBytes ? 1.0f / 255.0f : 1.0f, false);
      }
    }
    team_.barrier();
  }

  // A pixel of the tile and what lies around it, counted from the corner of that.
  SSLFAST_HD Pixel<float> source(int32_t y, int32_t x) const {
    const Taps &column = b_.across.taps[x], &row = b_.down.taps[y];
    if (column.count == 0 || row.count == 0) return outside_;
    const View& v = b_.view;
    const int32_t interpolation = static_cast<int32_t>(p_.step[0].setting[0]);
    const bool antialias = p_.step[0].setting[1] != 0.0f;
    const bool kept = column.count <= kKeptTaps && row.count <= kKeptTaps;
    float sum[3] = {0.0f, 0.0f, 0.0f};
    int64_t line = corner_ + row.first * from_.image.height_stride + column.first * from_.image.width_stride;
    const Axis across(v.width, v.target_width, interpolation, antialias);
    const Axis down(v.height, v.target_height, interpolation, antialias);
    for (int32_t ky = 0; ky < row.count; ++ky, line += from_.image.height_stride) {
      if (kept) {
        from_.add_line(line, column, b_.across.weight + x, b_.down.weight[ky * kMostSide + y], sum);
        continue;
      }
      const float wy = down.weight(row.index, row.first + ky) * row.share;
      int64_t at = line;
      for (int32_t kx = 0; kx < column.count; ++kx, at += from_.image.width_stride) {
        from_.add(at, across.weight(column.index, column.first + kx) * column.share * wy, sum);
      }
    }
    return kChannels == 3 ? Pixel<float>{sum[0], sum[1], sum[2]} : Pixel<float>{sum[0], sum[0], sum[0]};
  }

  // kRun pixels of row y from x on, channel by channel, if nothing is resized across and the source has them side by
  // side, in either order.
  SSLFAST_HD bool copy_run(int32_t y, int32_t x, float* value) const {
    const Taps *column = b_.across.taps + x, &row = b_.down.taps[y];
    if (b_.view.width != b_.view.target_width || !from_.is_dense() || row.count == 0 || row.count > kKeptTaps)
      return false;
    for (int32_t k = 0; k < kRun; ++k) {
      if (column[k].count != 1) return false;
    }
    const int32_t step = column[kRun - 1].first - column[0].first;
    if (step != kRun - 1 && step != 1 - kRun) return false;
    const bool mirrored = step < 0;
    int64_t at = corner_ + row.first * from_.image.height_stride;
    at += column[mirrored ? kRun - 1 : 0].first * from_.image.width_stride;
    float sum[kChannels * kRun] = {};
    for (int32_t ky = 0; ky < row.count; ++ky, at += from_.image.height_stride) {
      from_.template load<kRun>(at, kRun, value);
      const float wy = b_.down.weight[ky * kMostSide + y];
      for (int32_t k = 0; k < kRun; ++k) {
        const float w = b_.across.weight[x + k] * wy;
        for (int32_t c = 0; c < kChannels; ++c) {
          sum[c * kRun + k] += w * (mirrored ? value[c * kRun + kRun - 1 - k] : value[c * kRun + k]);
        }
      }
    }
    for (int32_t i = 0; i < kChannels * kRun; ++i) value[i] = sum[i];
    return true;
  }

  // The tile and its neighbourhood up to the blur, then its rows blurred, behind it.
  SSLFAST_HD void blur_across(float* around) const {
    const int32_t plane = side() * tall();
    for (int32_t i = team_.lane; i < plane; i += team_.lanes) {
      const Pixel<float> pixel = painted(source(i / side(), i % side()), b_, 0, b_.blur);
      around[i] = pixel.r;
      if (kChannels == 3) {
        around[plane + i] = pixel.g;
        around[2 * plane + i] = pixel.b;
      }
    }
    team_.barrier();
    float* across = around + kChannels * plane;
    for (int32_t i = team_.lane; i < kChannels * tall() * kTile; i += team_.lanes) {
      const float* middle = around + i / kTile * side() + i % kTile + reach_.across;
      float sum = b_.weight.across[0] * middle[0];
      for (int32_t k = 1; k <= reach_.across; ++k) sum += b_.weight.across[k] * (middle[-k] + middle[k]);
      across[i / kTile * kAcross + i % kTile] = sum;
    }
    team_.barrier();
  }

  SSLFAST_HD Pixel<float> blurred_down(const float* across, int32_t y, int32_t x) const {
    float value[3];
    for (int32_t c = 0; c < kChannels; ++c) {
      const float* middle = across + (c * tall() + y + reach_.down) * kAcross + x;
      value[c] = b_.weight.down[0] * middle[0];
      for (int32_t k = 1; k <= reach_.down; ++k) {
        value[c] += b_.weight.down[k] * (middle[-k * kAcross] + middle[k * kAcross]);
      }
    }
    return kChannels == 3 ? Pixel<float>{value[0], value[1], value[2]} : Pixel<float>{value[0], value[0], value[0]};
  }

  // n pixels of row y from x on, normalised.
  SSLFAST_HD void write(int32_t y, int32_t x, int32_t n, float* value) const {
    const int64_t plane = p_.out_height * p_.out_width, at = (int64_t{top_} + y) * p_.out_width + left_ + x;
    const int64_t first = (view_ * p_.rows + row_) * p_.channels * plane, channel = group_ * kChannels;
    for (int32_t c = 0; c < kChannels; ++c) {
      const float gain = p_.gain[channel + c], offset = p_.offset[channel + c];
      for (int32_t k = 0; k < kRun; ++k) value[c * kRun + k] = gain * value[c * kRun + k] + offset;
    }
    if (!p_.channels_last) {
      for (int32_t c = 0; c < kChannels; ++c) {
        const int64_t i = first + (channel + c) * plane + at;
        if (n == kRun && is_aligned(i)) {
          Memory::store_four(p_.out, p_.out_type, i, value + c * kRun);
        } else {
          for (int32_t k = 0; k < n; ++k) Memory::store(p_.out, p_.out_type, i + k, value[c * kRun + k]);
        }
      }
      return;
    }
    const int64_t i = first + at * p_.channels + channel;
    if (p_.channels == kChannels && n == kRun && is_aligned(i)) {
      for (int32_t four = 0; four < kChannels; ++four) {
        float side_by_side[4];
        for (int32_t k = 0; k < 4; ++k) {
          const int32_t place = 4 * four + k;  // pixel by pixel
          side_by_side[k] = value[place % kChannels * kRun + place / kChannels];
        }
        Memory::store_four(p_.out, p_.out_type, i + 4 * four, side_by_side);
      }
      return;
    }
    for (int32_t c = 0; c < kChannels; ++c) {
      for (int32_t k = 0; k < n; ++k) Memory::store(p_.out, p_.out_type, i + k * p_.channels + c, value[c * kRun + k]);
    }
  }

  SSLFAST_HD bool is_aligned(int64_t i) const {
    const auto bytes = static_cast<uint64_t>(pixel_bytes(p_.out_type));
    return (reinterpret_cast<uintptr_t>(p_.out) + static_cast<uint64_t>(i) * bytes) % (4 * bytes) == 0;
  }

  const ImageAugment& p_;
  Block& b_;
  const Team& team_;
  const int64_t item_;
  int64_t group_, row_, view_, corner_;
  PixelReader<Memory, kBytes, kChannels> from_;
  float fill_;
  Pixel<float> outside_;
  Reach reach_{0, 0};
  int32_t top_ = 0, left_ = 0;
};

}  // namespace sslfast::augment
