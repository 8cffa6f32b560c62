// One view from one image, row by row, everything in L1 and L2. Where the crop is no taller than the view, each source
// row is resized horizontally once and two of them are blended per output row; else the source rows are averaged
// first, contiguously, and the average is resized. Blending, colour and normalisation are one loop in registers. Only
// contrast needs the whole view: the pixels before it fill the output (fp32) or a scratch view (bf16), then a second
// pass finishes them. Bytes: the crop read and the view written once; no other image is ever in memory.
#include "sslfast/image_augment.h"

#include <algorithm>
#include <memory>
#include <type_traits>

#include "image_augment_rows.h"
#include "large_output.h"

namespace sslfast::cpu {
namespace {

using namespace augment;

Planes planes(float* first, int64_t stride) { return {{first, first + stride, first + 2 * stride}}; }

// Buffers of one thread, for the largest crop: the whole image.
struct Scratch {
  Table across, down;
  int64_t source_stride, view_stride;
  std::unique_ptr<uint8_t[]> bytes;  // 3 planes of the source rows of one output row, where pixels lie apart
  std::unique_ptr<float[]> source;   // 3 source rows, converted or averaged
  std::unique_ptr<float[]> resized;  // 2 x 3 source rows, resized
  std::unique_ptr<float[]> view;     // 3 planes, where the output cannot hold them

  Scratch(const auto& p, bool whole_view)
      : across(p.width, p.out_width),
        down(p.height, p.out_height),
        source_stride(p.width + 2 * kMaxLanes),
        view_stride(padded(p.out_width)),
        bytes(p.width_stride == 1 ? nullptr : new uint8_t[3 * Axis(p.height, p.out_height).taps * p.width]),
        source(new float[3 * source_stride]()),
        resized(new float[6 * view_stride]()),
        view(whole_view ? new float[3 * p.out_height * p.out_width] : nullptr) {}
};

// Resizes the crop of one view, one output row at a time.
template <typename Out>
class Resizer {
 public:
  Resizer(const ImageAugment<Out>& p, const uint8_t* image, const View& v, Scratch& s)
      : p_(p), s_(s), image_(image + v.top * p.height_stride + v.left * p.width_stride), width_(v.width) {
    s.across.fill(Axis(v.width, p.out_width), v.flip);
    s.down.fill(Axis(v.height, p.out_height), false);
    widths_first_ = v.height <= p.out_height;
    slots_[0] = planes(s.resized.get(), s.view_stride);
    slots_[1] = planes(s.resized.get() + 3 * s.view_stride, s.view_stride);
  }

  // Sets the input of `row` to output row y.
  void set(int64_t y, Row<Out>& row) {
    const int32_t first = s_.down.first[y], taps = s_.down.taps;
    const float* weight = s_.down.weight.get() + y;
    if (!widths_first_) {
      row.top = resized(first, taps, weight, 0);
      row.blend = false;
      return;
    }
    row.top = resized_once(first);
    row.blend = taps == 2;
    if (!row.blend) return;
    row.bottom = resized_once(first + 1);
    row.top_weight = weight[0];
    row.bottom_weight = weight[s_.down.stride];
  }

 private:
  // Source row y alone, resized when it is first asked for and kept in the slot of its parity.
  const Planes& resized_once(int32_t y) {
    const float one = 1.0f;
    const int slot = y % 2;
    if (held_[slot] == y) return slots_[slot];
    held_[slot] = y;
    return resized(y, 1, &one, slot);
  }

  // The weighted average of `taps` source rows from y on, resized.
  const Planes& resized(int32_t y, int32_t taps, const float* weight, int slot) {
    const Planes source = planes(s_.source.get(), s_.source_stride);
    const Planes& out = slots_[slot];
    const uint8_t* pixels = image_ + y * p_.height_stride;
    int64_t row_stride = p_.height_stride, channel_stride = p_.channel_stride;
    if (p_.width_stride != 1) {
      pixels = unpack(pixels, taps);
      row_stride = width_;
      channel_stride = taps * width_;
    }
    for (int64_t c = 0; c < p_.channels; ++c) {
      average_rows(pixels + c * channel_stride, row_stride, width_, taps, weight, s_.down.stride, source.plane[c]);
    }
    resample(source, p_.channels, s_.across, out, p_.out_width);
    return out;
  }

  // Rows whose pixels lie apart, copied to (channels, rows, width).
  const uint8_t* unpack(const uint8_t* pixels, int32_t rows) {
    uint8_t* out = s_.bytes.get();
    for (int32_t k = 0; k < rows; ++k, pixels += p_.height_stride, out += width_) {
      if (p_.width_stride == 3 && p_.channel_stride == 1 && p_.channels == 3) {
        unpack_rgb(pixels, width_, out, out + rows * width_, out + 2 * rows * width_);
        continue;
      }
      for (int64_t c = 0; c < p_.channels; ++c) {
        for (int64_t x = 0; x < width_; ++x) {
          out[c * rows * width_ + x] = pixels[c * p_.channel_stride + x * p_.width_stride];
        }
      }
    }
    return s_.bytes.get();
  }

  const ImageAugment<Out>& p_;
  Scratch& s_;
  const uint8_t* image_;
  int64_t width_;
  bool widths_first_;
  Planes slots_[2];
  int32_t held_[2] = {-1, -1};
};

template <typename Out>
void render(const ImageAugment<Out>& p, int64_t view, int64_t image, Scratch& s) {
  const View v = read_view(p.params + (image * p.views + view) * kViewColumns, p.height, p.width, p.channels);
  Resizer<Out> resizer(p, p.images + image * p.row_stride, v, s);
  const int64_t n = p.out_width, plane = p.out_height * n;
  Out* out = p.out + (view * p.rows + image) * p.channels * plane;
  float* held = s.view.get();
  if constexpr (std::is_same_v<Out, float>) held = out;

  Row<Out> row{};
  row.list = v.before;
  row.hold = v.contrast;
  row.held = planes(held, plane);
  for (int64_t c = 0; c < p.channels; ++c) row.out[c] = out + c * plane;
  double sum = 0;
  for (int64_t y = 0; y < p.out_height; ++y) {
    resizer.set(y, row);
    sum += paint(row, v, p);
    for (int64_t c = 0; c < p.channels; ++c) {
      row.held.plane[c] += n;
      row.out[c] += n;
    }
  }
  if (!v.contrast) return;

  row.list = v.after;
  row.hold = row.blend = false;
  row.contrast = true;
  row.contrast_rest = (1.0f - v.contrast_factor) * static_cast<float>(sum / static_cast<double>(plane));
  row.top = planes(held, plane);
  for (int64_t c = 0; c < p.channels; ++c) row.out[c] = out + c * plane;
  for (int64_t y = 0; y < p.out_height; ++y) {
    paint(row, v, p);
    for (int64_t c = 0; c < p.channels; ++c) {
      row.top.plane[c] += n;
      row.out[c] += n;
    }
  }
}

template <typename Out>
void run(const ImageAugment<Out>& p, int threads) {
  const int64_t items = p.rows * p.views;
  prepare_large_output(p.out, items * p.channels * p.out_height * p.out_width * static_cast<int64_t>(sizeof(Out)));
#pragma omp parallel num_threads(threads) if (threads > 1 && items > 1)
  {
    Scratch scratch(p, !std::is_same_v<Out, float>);
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < items; ++i) render(p, i % p.views, i / p.views, scratch);  // an image's views together
  }
}

}  // namespace

void image_augment(const ImageAugment<float>& p, int threads) { run(p, threads); }
void image_augment(const ImageAugment<BFloat16>& p, int threads) { run(p, threads); }

}  // namespace sslfast::cpu
