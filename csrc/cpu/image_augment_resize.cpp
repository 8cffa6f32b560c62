#include "image_augment_resize.h"

#include <algorithm>

namespace sslfast::cpu {

using namespace augment;

namespace {

constexpr float kOne = 1.0f;

// Outputs a channel, up to which all rows of a box are resized in one go: they stay in L1.
constexpr int64_t kWholeBox = 2048;

}  // namespace

Resizer::Resizer(const ImageAugment& p, const Image& image, int64_t first_channel, int64_t channels, const View& v,
                 ResizeScratch& scratch)
    : s_(scratch),
      image_(image),
      type_(p.in),
      pixel_bytes_(pixel_bytes(p.in)),
      channels_(channels),
      view_width_(p.out_width),
      fill_(p.step[0].setting[2]) {
  for (int64_t c = 0; c < channels; ++c) fills_[c] = p.fill_of(fill_, first_channel + c);
  image_.data =
      static_cast<const char*>(image.data) +
      (first_channel * image.channel_stride + v.top * image.height_stride + v.left * image.width_stride) * pixel_bytes_;
  image_.height = v.height;
  image_.width = v.width;
  const auto interpolation = static_cast<int32_t>(p.step[0].setting[0]);
  const bool antialias = p.step[0].setting[1] != 0.0f;
  const int32_t padding = padding_of(fill_);
  s_.across.fill(Axis(v.width, v.target_width, interpolation, antialias), v.offset_left, view_width_, v.flip_left_right,
                 padding);
  s_.down.fill(Axis(v.height, v.target_height, interpolation, antialias), v.offset_top, p.out_height,
               v.flip_upside_down, padding);
  widths_first_ = s_.down.taps <= 2 && v.height <= v.target_height;
  view_stride_ = padded(view_width_);
  bytes_ = widths_first_ && p.in == Pixels::kUint8 && resamples_bytes(s_.across);
  if (bytes_) unit_ = 1.0f / 255.0f;
  whole_ = widths_first_ && (v.height + 1) * view_stride_ <= kWholeBox;
  const int64_t rows = whole_ ? v.height + 1 : 2, plane = rows * view_stride_;
  kept_ = planes(s_.resized.at_least(3 * plane), plane);
  if (!whole_) return;
  if (!bytes_) resize(0, 1, &kOne, v.height, kept_);
  for (int32_t k = 0; bytes_ && k < v.height; ++k) resize_bytes(k, kept_.moved(k * view_stride_));
}

void Resizer::set(int64_t y, Row& row) {
  const Table& down = s_.down;
  const float* weight = down.weight.get() + y;
  row.blend = false;
  if (y < down.inside_from || y >= down.inside_to) {  // possible only where no row is kept, or all: one place is free
    held_[0] = held_[1] = -1;
    row.top = kept_.moved(whole_ ? image_.height * view_stride_ : 0);
    for (int64_t c = 0; c < channels_; ++c) std::fill_n(row.top.plane[c], view_width_, fills_[c]);
    return;
  }
  const int32_t first = down.first.get()[y];
  if (!widths_first_) {
    resize(first, down.taps, weight, 1, kept_);
    row.top = kept_;
    return;
  }
  row.top = resized_once(first);
  row.bottom = down.taps == 2 ? resized_once(first + 1) : row.top;
  row.blend = true;
  row.top_weight = weight[0] * unit_;
  row.bottom_weight = down.taps == 2 ? weight[down.stride] * unit_ : 0.0f;
}

// Source row y alone, resized: with all others, or when it is first asked for and kept in the place of its parity.
Planes Resizer::resized_once(int32_t y) {
  if (whole_) return kept_.moved(y * view_stride_);
  const int slot = y % 2;
  const Planes place = kept_.moved(slot * view_stride_);
  if (held_[slot] == y) return place;
  bytes_ ? resize_bytes(y, place) : resize(y, 1, &kOne, 1, place);
  held_[slot] = y;
  return place;
}

// Source row y alone, of bytes. A row near the image's end, behind which nothing may be read, is copied.
void Resizer::resize_bytes(int32_t y, const Planes& out) {
  const auto* pixels = static_cast<const uint8_t*>(image_.data) + y * image_.height_stride;
  SourceRows<uint8_t> row{pixels, image_.height_stride, image_.channel_stride, image_.width};
  const int64_t behind = (image_.height - 1 - y) * image_.height_stride;
  if (image_.width_stride != 1 || image_.channel_stride < 0 || behind < kByteWindow) {
    unpack_bytes(pixels, 1);
    row = {s_.bytes.get(), image_.width, image_.width, image_.width};
  } else {
    prefetch(pixels, y + 1);
  }
  resample_bytes(row, channels_, s_.across, out, view_width_);
  fill_outside(1, out);
}

// The weighted average of `taps` source rows from y on, resized, and of `count` - 1 more, each one row further on.
void Resizer::resize(int32_t y, int32_t taps, const float* weight, int64_t count, const Planes& out) {
  const char* pixels = static_cast<const char*>(image_.data) + y * image_.height_stride * pixel_bytes_;
  const int64_t width = image_.width, rows = taps + count - 1;
  const int64_t stride = padded(width) + 2 * kMaxLanes;
  const Planes between = planes(s_.source.at_least(3 * count * stride), count * stride);
  const auto from = [&](const auto& source) {
    average_rows(source, channels_, taps, weight, s_.down.stride, count, between, stride);
  };
  if (type_ != Pixels::kUint8) {
    unpack_floats(pixels, rows);
    from(SourceRows<float>{s_.floats.get(), width, rows * width, width});
  } else if (image_.width_stride != 1) {
    unpack_bytes(reinterpret_cast<const uint8_t*>(pixels), rows);
    from(SourceRows<uint8_t>{s_.bytes.get(), width, rows * width, width});
  } else {
    const auto* bytes = reinterpret_cast<const uint8_t*>(pixels);
    prefetch(bytes, y + rows);
    from(SourceRows<uint8_t>{bytes, image_.height_stride, image_.channel_stride, width});
  }
  resample_rows(between, stride, channels_, count, s_.across, out, view_stride_, view_width_);
  fill_outside(count, out);
}

// Asks for the row kAhead further on than `pixels`, one before `next`, if the box has it: its lines are too few for the
// processor to see where they lead.
void Resizer::prefetch(const uint8_t* pixels, int64_t next) const {
  constexpr int64_t kAhead = 8, kLine = 64;
  if (next + kAhead >= image_.height) return;
  pixels += kAhead * image_.height_stride;
  for (int64_t c = 0; c < channels_; ++c) {
    for (int64_t x = 0; x < image_.width; x += kLine) __builtin_prefetch(pixels + c * image_.channel_stride + x);
  }
}

// Rows whose pixels lie apart, copied to (channels, rows, width).
void Resizer::unpack_bytes(const uint8_t* pixels, int64_t rows) {
  const int64_t width = image_.width, plane = rows * width;
  uint8_t* out = s_.bytes.at_least(3 * plane + kByteWindow);
  for (int64_t k = 0; k < rows; ++k, pixels += image_.height_stride, out += width) {
    if (image_.width_stride == 3 && image_.channel_stride == 1 && channels_ == 3) {
      unpack_rgb(pixels, width, out, out + plane, out + 2 * plane);
      continue;
    }
    for (int64_t c = 0; c < channels_; ++c) {
      for (int64_t x = 0; x < width; ++x) {
        out[c * plane + x] = pixels[c * image_.channel_stride + x * image_.width_stride];
      }
    }
  }
}

void Resizer::unpack_floats(const char* pixels, int64_t rows) {
  const int64_t width = image_.width;
  float* out = s_.floats.at_least(3 * rows * width);
  for (int64_t c = 0; c < channels_; ++c) {
    for (int64_t k = 0; k < rows; ++k, out += width) {
      const int64_t at = c * image_.channel_stride + k * image_.height_stride;
      poisoned_ |= widen_row(pixels + at * pixel_bytes_, image_.width_stride, type_, width, out);
    }
  }
}

void Resizer::fill_outside(int64_t count, const Planes& out) const {
  if (fill_ <= 0.0f) return;  // weights of 0 have written 0, and paddings leave nothing to fill
  const int64_t from = std::min(s_.across.inside_from, view_width_), to = s_.across.inside_to;
  for (int64_t c = 0; c < channels_; ++c) {
    for (int64_t r = 0; r < count; ++r) {
      float* row = out.plane[c] + r * view_stride_;
      std::fill(row, row + from, fills_[c] / unit_);
      if (to > 0) std::fill(row + to, row + view_width_, fills_[c] / unit_);
    }
  }
}

}  // namespace sslfast::cpu
