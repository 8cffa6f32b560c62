#include "image_augment_resize.h"

#include <algorithm>

namespace sslfast::cpu {

using namespace augment;

Resizer::Resizer(const ImageAugment& p, const Image& image, int64_t first_channel, int64_t channels, const View& v,
                 ResizeScratch& scratch)
    : s_(scratch),
      image_(image),
      type_(p.in),
      pixel_bytes_(pixel_bytes(p.in)),
      channels_(channels),
      view_width_(p.out_width),
      fill_(p.step[0].setting[2]) {
  image_.data =
      static_cast<const char*>(image.data) +
      (first_channel * image.channel_stride + v.top * image.height_stride + v.left * image.width_stride) * pixel_bytes_;
  image_.height = v.height;
  image_.width = v.width;
  const auto interpolation = static_cast<int32_t>(p.step[0].setting[0]);
  const bool antialias = p.step[0].setting[1] != 0.0f;
  s_.across.fill(Axis(v.width, v.target_width, interpolation, antialias), v.offset_left, view_width_,
                 v.flip_left_right);
  s_.down.fill(Axis(v.height, v.target_height, interpolation, antialias), v.offset_top, p.out_height,
               v.flip_upside_down);
  widths_first_ = s_.down.taps <= 2 && v.height <= v.target_height;
  const int64_t source_stride = v.width + 2 * kMaxLanes, view_stride = padded(view_width_);
  s_.source.at_least(3 * source_stride);
  float* resized = s_.resized.at_least(6 * view_stride);
  slots_[0] = planes(resized, view_stride);
  slots_[1] = planes(resized + 3 * view_stride, view_stride);
}

void Resizer::set(int64_t y, Row& row) {
  const Table& down = s_.down;
  const float* weight = down.weight.get() + y;
  row.blend = false;
  if (y < down.inside_from || y >= down.inside_to) {  // possible only where no row is kept: the slots are free
    held_[0] = held_[1] = -1;
    for (int64_t c = 0; c < channels_; ++c) std::fill_n(slots_[0].plane[c], view_width_, fill_);
    row.top = slots_[0];
    return;
  }
  const int32_t first = down.first.get()[y];
  if (!widths_first_) {
    row.top = resized(first, down.taps, weight, 0);
    return;
  }
  row.top = resized_once(first);
  row.blend = down.taps == 2;
  if (!row.blend) return;
  row.bottom = resized_once(first + 1);
  row.top_weight = weight[0];
  row.bottom_weight = weight[down.stride];
}

// Source row y alone, resized when it is first asked for and kept in the slot of its parity.
const Planes& Resizer::resized_once(int32_t y) {
  const float one = 1.0f;
  const int slot = y % 2;
  if (held_[slot] == y) return slots_[slot];
  held_[slot] = y;
  return resized(y, 1, &one, slot);
}

// The weighted average of `taps` source rows from y on, resized.
const Planes& Resizer::resized(int32_t y, int32_t taps, const float* weight, int slot) {
  const Planes source = planes(s_.source.get(), image_.width + 2 * kMaxLanes);
  const char* pixels = static_cast<const char*>(image_.data) + y * image_.height_stride * pixel_bytes_;
  const int64_t packed = taps * image_.width;
  if (type_ != Pixels::kUint8) {
    unpack_floats(pixels, taps);
    average(s_.floats.get(), image_.width, packed, taps, weight, source);
  } else if (image_.width_stride != 1) {
    unpack_bytes(reinterpret_cast<const uint8_t*>(pixels), taps);
    average(s_.bytes.get(), image_.width, packed, taps, weight, source);
  } else {
    average(reinterpret_cast<const uint8_t*>(pixels), image_.height_stride, image_.channel_stride, taps, weight,
            source);
  }
  const Planes& out = slots_[slot];
  resample(source, channels_, s_.across, out, view_width_);
  fill_outside(out);
  return out;
}

template <typename Pixel>
void Resizer::average(const Pixel* pixels, int64_t row_stride, int64_t channel_stride, int32_t taps,
                      const float* weight, const Planes& out) {
  for (int64_t c = 0; c < channels_; ++c) {
    average_rows(pixels + c * channel_stride, row_stride, image_.width, taps, weight, s_.down.stride, out.plane[c]);
  }
}

// Rows whose pixels lie apart, copied to (channels, rows, width).
void Resizer::unpack_bytes(const uint8_t* pixels, int32_t rows) {
  const int64_t width = image_.width, plane = rows * width;
  uint8_t* out = s_.bytes.at_least(3 * plane);
  for (int32_t k = 0; k < rows; ++k, pixels += image_.height_stride, out += width) {
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

void Resizer::unpack_floats(const char* pixels, int32_t rows) {
  const int64_t width = image_.width;
  float* out = s_.floats.at_least(3 * rows * width);
  for (int64_t c = 0; c < channels_; ++c) {
    for (int32_t k = 0; k < rows; ++k, out += width) {
      const int64_t at = c * image_.channel_stride + k * image_.height_stride;
      poisoned_ |= widen_row(pixels + at * pixel_bytes_, image_.width_stride, type_, width, out);
    }
  }
}

void Resizer::fill_outside(const Planes& out) const {
  if (fill_ == 0.0f) return;  // weights of 0 have written that
  const int64_t from = std::min(s_.across.inside_from, view_width_), to = s_.across.inside_to;
  for (int64_t c = 0; c < channels_; ++c) {
    std::fill(out.plane[c], out.plane[c] + from, fill_);
    if (to > 0) std::fill(out.plane[c] + to, out.plane[c] + view_width_, fill_);
  }
}

}  // namespace sslfast::cpu
