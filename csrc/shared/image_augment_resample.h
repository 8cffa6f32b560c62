// A tile of a view, resized from the source by the lanes of a block: what its columns and rows take, and how much of
// it, is worked out once a tile.
//
// `Team` has lane, lanes and barrier(). `Memory` has load<kBytes>(pixels, type, i) and what image_augment_reads.h asks
// for.
#pragma once

#include "image_augment_output.h"
#include "image_augment_reads.h"

namespace sslfast::augment {

// What the lanes share.
struct TileTaps {
  TileAxis across, down;
};

template <typename Memory, bool kBytes, int kChannels, typename Team>
class SourceTile {
 public:
  SSLFAST_HD SourceTile(const ImageAugment& p, const Item& item, const View& view, TileTaps& taps, const Team& team)
      : p_(p), v_(view), taps_(taps), team_(team), from_{p.source(item.row), p.in} {
    first_ = item.group * kChannels;
    fill_ = p.step[0].setting[2];
    for (int32_t c = 0; c < kChannels; ++c) outside_[c] = p.fill_of(fill_, first_ + c);
  }

  // The tile with this corner and `reach` more on each side, from now on; the view is known by now.
  SSLFAST_HD void place(int32_t top, int32_t left, Reach reach) {
    const int32_t height = static_cast<int32_t>(p_.out_height), width = static_cast<int32_t>(p_.out_width);
    const int32_t side = kTile + 2 * reach.across, tall = kTile + 2 * reach.down;
    team_.barrier();  // the tile before is done
    const int32_t interpolation = static_cast<int32_t>(p_.step[0].setting[0]);
    const bool antialias = p_.step[0].setting[1] != 0.0f;
    const int32_t padding = padding_of(fill_);
    // Reads of four bytes need the neighbours that have no weight, so that three taps are one read.
    const bool fours = kBytes && from_.has_runs();
    if (team_.lane < side) {
      const Axis axis(v_.width, v_.target_width, interpolation, antialias);
      for (int32_t i = team_.lane; i < side; i += team_.lanes) {
        const int32_t x = reflected(left + i - reach.across, width);
        taps_.across.set(i, axis, v_.offset_left + (v_.flip_left_right ? width - 1 - x : x), padding, 1.0f, fours);
      }
    }
    const int32_t lane = team_.lanes - 1 - team_.lane;
    if (lane < tall) {
      const Axis axis(v_.height, v_.target_height, interpolation, antialias);
      for (int32_t i = lane; i < tall; i += team_.lanes) {
        const int32_t y = reflected(top + i - reach.down, height);
        taps_.down.set(i, axis, v_.offset_top + (v_.flip_upside_down ? height - 1 - y : y), padding,
                       kBytes ? 1.0f / 255.0f : 1.0f, false);
      }
    }
    team_.barrier();
  }

  // A pixel of the tile and what lies around it, counted from the corner of that.
  SSLFAST_HD Pixel<float> pixel(int32_t y, int32_t x) const {
    static_assert(kChannels <= 3, "four channels are no colour");
    float sum[3] = {};
    read(y, x, sum);
    return kChannels == 3 ? Pixel<float>{sum[0], sum[1], sum[2]} : Pixel<float>{sum[0], sum[0], sum[0]};
  }

  SSLFAST_HD void read(int32_t y, int32_t x, float* sum) const {
    const Taps &column = taps_.across.taps[x], &row = taps_.down.taps[y];
    const bool outside = column.count == 0 || row.count == 0;
    for (int32_t c = 0; c < kChannels; ++c) sum[c] = outside ? outside_[c] : 0.0f;
    if (outside) return;
    const int32_t interpolation = static_cast<int32_t>(p_.step[0].setting[0]);
    const bool antialias = p_.step[0].setting[1] != 0.0f;
    const int64_t corner_of_taps =
        corner() + row.first * from_.image.height_stride + column.first * from_.image.width_stride;
    const auto weight_of_row = [&](int32_t ky) {
      if (row.count <= kKeptTaps) return taps_.down.weight[ky * kMostSide + y];
      const Axis down(v_.height, v_.target_height, interpolation, antialias);
      return down.weight(row.index, row.first + ky) * row.share;
    };
    if (column.count <= kKeptTaps) {
      int64_t line = corner_of_taps;
      for (int32_t ky = 0; ky < row.count; ++ky, line += from_.image.height_stride) {
        from_.add_line(line, column, taps_.across.weight + x, weight_of_row(ky), sum);
      }
    } else {
      // The weights of four columns at a time, for all lines.
      for (int32_t kx = 0; kx < column.count; kx += 4) {
        const int32_t n = column.count - kx < 4 ? column.count - kx : 4;
        float weight[4];
        const Axis across(v_.width, v_.target_width, interpolation, antialias);
        for (int32_t k = 0; k < 4; ++k) {
          weight[k] = k < n ? across.weight(column.index, column.first + kx + k) * column.share : 0.0f;
        }
        int64_t line = corner_of_taps + kx * from_.image.width_stride;
        for (int32_t ky = 0; ky < row.count; ++ky, line += from_.image.height_stride) {
          from_.add_four(line, n, weight, weight_of_row(ky), sum);
        }
      }
    }
  }

  // kRun pixels of row y from x on, channel by channel, if nothing is resized across and the source has them side by
  // side, in either order.
  SSLFAST_HD bool copy_run(int32_t y, int32_t x, float* value) const {
    const Taps *column = taps_.across.taps + x, &row = taps_.down.taps[y];
    if (v_.width != v_.target_width || !(from_.has_runs() || from_.is_whole()) || row.count == 0 ||
        row.count > kKeptTaps)
      return false;
    for (int32_t k = 0; k < kRun; ++k) {
      if (column[k].count != 1) return false;
    }
    const int32_t step = column[kRun - 1].first - column[0].first;
    if (step != kRun - 1 && step != 1 - kRun) return false;
    const bool mirrored = step < 0;
    int64_t at = corner() + row.first * from_.image.height_stride;
    at += column[mirrored ? kRun - 1 : 0].first * from_.image.width_stride;
    float sum[kChannels * kRun] = {};
    for (int32_t ky = 0; ky < row.count; ++ky, at += from_.image.height_stride) {
      from_.template load<kRun>(at, kRun, value);
      const float wy = taps_.down.weight[ky * kMostSide + y];
      for (int32_t k = 0; k < kRun; ++k) {
        const float w = taps_.across.weight[x + k] * wy;
        for (int32_t c = 0; c < kChannels; ++c) {
          sum[c * kRun + k] += w * (mirrored ? value[c * kRun + kRun - 1 - k] : value[c * kRun + k]);
        }
      }
    }
    for (int32_t i = 0; i < kChannels * kRun; ++i) value[i] = sum[i];
    return true;
  }

 private:
  // The element of the box that comes first.
  SSLFAST_HD int64_t corner() const {
    return first_ * from_.image.channel_stride + v_.top * from_.image.height_stride +
           v_.left * from_.image.width_stride;
  }

  const ImageAugment& p_;
  const View& v_;
  TileTaps& taps_;
  const Team team_;
  PixelReader<Memory, kBytes, kChannels> from_;
  int64_t first_;  // channel of the group
  float fill_;
  float outside_[kChannels];
};

}  // namespace sslfast::augment
