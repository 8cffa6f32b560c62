// The gradient of images from that of their views, image by image. The views are made again as far as a derivative
// depends on pixels: up to the last clamp, change of hue, threshold or sharpening, and no row of them if there is none.
// Then the gradient goes back through the same passes. Operations on pixels alone are done a row at a time, and their
// inputs are not stored but computed again in L1. What is kept of a view is the input of each pass; the resize is read
// by its transposed weights, source row by source row, so that nothing is scattered. Bytes: the gradient of the views
// and the boxes read once, the gradient of the images written once.
#include "sslfast/image_augment_backward.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <vector>

#include "image_augment_adjoint_rows.h"
#include "image_augment_moves.h"
#include "image_augment_resize.h"
#include "large_output.h"

namespace sslfast::cpu {
namespace {

using namespace augment;

// Buffers of one thread.
struct Scratch {
  ResizeScratch resize;
  MoveScratch move;
  Takers across, down;
  Buffer<float> kept, line, row;
  std::deque<Buffer<float>> views;
};

// From the resize, a moving operation or one that waits for the whole view, up to the next of these.
struct Pass {
  int32_t first, begin, end;  // operations on pixels are from `begin` on
  Planes before;              // what a moving operation took
  Planes values;              // what the first operation on pixels took
};

// Does the derivative depend on the pixels?
bool is_of_values(int32_t code) { return code != kOpGray && code != kOpInvert && code != kOpBlur && code != kOpAffine; }

// One to three channels of an image.
class Differentiator {
 public:
  Differentiator(const ImageAugmentBackward& p, Scratch& s, const LargeOutput& large)
      : p_(p), v_(p.view), s_(s), large_(large) {}

  void run(int64_t row, int64_t first_channel, int64_t channels) {
    const Image image = v_.source(row);
    shape_ = {v_.out_height, v_.out_width, channels};
    first_channel_ = first_channel;
    used_ = 0;
    read_view(v_, v_.params + row * v_.columns, image, view_);
    set_fills(v_, first_channel, channels, view_);
    list_passes();
    Resizer resizer(v_, image, first_channel, channels, view_, s_.resize);
    if (of_values_ > 0) forward(resizer);
    const Planes grad = backward(row);
    write(grad, row, image, resizer.poisoned() || view_.poisoned);
  }

 private:
  Planes fresh() {
    if (used_ == s_.views.size()) s_.views.emplace_back();
    return planes(s_.views[used_++].at_least(3 * shape_.plane()), shape_.plane());
  }

  void list_passes() {
    passes_.clear();
    of_values_ = 0;
    for (int32_t k = 0; k < view_.count; ++k) {
      if (is_of_values(view_.op[k].code)) of_values_ = k + 1;
    }
    for (int32_t first = 0, end; passes_.empty() || first < view_.count; first = end) {
      const bool starts = !passes_.empty();
      const int32_t begin = first + (starts && moves_pixels(view_.op[first].code));
      end = first + starts;
      while (end < view_.count && works_on_pixels(view_.op[end].code)) ++end;
      passes_.push_back({first, begin, end, {}, {}});
    }
  }

  // Every pass's `values` and `before` that a derivative depends on, and what contrast and auto contrast find.
  void forward(Resizer& resizer) {
    Planes held = passes_[0].values = fresh();
    double gray = paint_rows(held, 0, 0, [&](int64_t y, Row& row) {
      resizer.set(y, row);
      return int64_t{1};
    });
    for (size_t k = 0; k < passes_.size(); ++k) {
      Pass& pass = passes_[k];
      Op& op = view_.op[pass.first];
      if (k > 0 && pass.begin > pass.first) {
        pass.before = held;
        if (of_values_ <= pass.begin) return;
        pass.values = fresh();
        Move move(op, shape_, s_.move);
        gray = paint_rows(pass.values, 0, 0, [&](int64_t y, Row& row) {
          row.top = move.rows(held, y);
          return move.count();
        });
        held = pass.values;
      } else if (k > 0) {
        pass.values = held;
        if (op.code == kOpContrast) {
          rest_[pass.first] = op.b;
          op.b *= static_cast<float>(gray / static_cast<double>(v_.out_height * v_.out_width));
        } else {
          stretch_range(op, held, table_[pass.first]);
        }
      }
      if (of_values_ <= pass.end) return;
      if (pass.begin == pass.end) continue;
      const Planes from = held;
      held = fresh();
      gray = paint_rows(held, pass.begin, pass.end, [&](int64_t y, Row& row) {
        row.top = from.moved(y * shape_.width);
        return std::min(kRowsAtOnce, shape_.height - y);
      });
    }
  }

  // Returns the sum of the gray values. set(y, row) makes y the input, and says how many rows lie there.
  template <typename Set>
  double paint_rows(const Planes& to, int32_t begin, int32_t end, const Set& set) {
    Row row{};
    row.channels = shape_.channels;
    row.op = view_.op + begin;
    row.ops = end - begin;
    row.hold = true;
    double gray = 0;
    for (int64_t y = 0, count; y < shape_.height; y += count) {
      count = set(y, row);
      row.n = count * shape_.width;
      row.out = to.moved(y * shape_.width);
      gray += paint(row);
    }
    return gray;
  }

  // Auto contrast: every channel from its least to its largest value, to [0, 1].
  void stretch_range(Op& op, const Planes& values, float* table) const {
    for (int64_t c = 0; c < 3; ++c) {
      const float* plane = values.plane[c < shape_.channels ? c : 0];
      const auto [low, high] = std::minmax_element(plane, plane + shape_.height * shape_.width);
      stretch_of(*low, *high, table + 2 * c);
    }
    op.code = kOpStretch;
    op.table = table;
  }

  // The gradient of the resized view.
  Planes backward(int64_t row) {
    const int64_t plane = shape_.height * shape_.width;
    Planes grad = fresh(), spare = fresh();
    GradientRow line{};
    line.n = shape_.width;
    line.channels = shape_.channels;
    const float* first = p_.grad + (row * v_.channels + first_channel_) * plane;
    Planes from = planes(const_cast<float*>(first), plane);
    for (int64_t c = 0; c < shape_.channels; ++c) line.gain[c] = v_.gain[first_channel_ + c];
    bool pending = true;  // is `from` still to be multiplied and moved?
    for (size_t k = passes_.size(); k-- > 0;) {
      const Pass& pass = passes_[k];
      const Op& op = view_.op[pass.first];
      if (pending || pass.end > pass.begin) {
        line.op = view_.op + pass.begin;
        line.ops = pass.end - pass.begin;
        line.ops_of_values = std::clamp(of_values_ - pass.begin, 0, line.ops);
        line.kept = planes(s_.kept.at_least(3 * padded(line.n) * std::max(line.ops_of_values, 1)), padded(line.n));
        double sum = 0;
        for (int64_t y = 0; y < shape_.height; ++y) {
          const int64_t at = y * shape_.width;
          if (line.ops_of_values > 0) line.values = pass.values.moved(at);
          line.from = from.moved(at);
          line.out = grad.moved(at);
          sum += paint_back(line);
        }
        from = grad;
        pending = false;
        for (int64_t c = 0; c < shape_.channels; ++c) {
          line.gain[c] = 1.0f;
          line.add[c] = 0.0f;
        }
        if (k > 0 && op.code == kOpContrast) {
          const float share[3] = {kGrayRed, kGrayGreen, kGrayBlue};
          const double rest = double{rest_[pass.first]} * sum / static_cast<double>(plane);
          for (int64_t c = 0; c < shape_.channels; ++c) {
            line.add[c] = static_cast<float>(rest * (shape_.channels == 3 ? double{share[c]} : 1.0));
          }
          pending = true;
        }
        if (k > 0 && op.code == kOpStretch) stretch_back(op, pass.values, grad);
      }
      if (pass.begin > pass.first) {
        Move(op, shape_, s_.move).back(pass.before, grad, spare);
        from = grad;
      }
    }
    return grad;
  }

  // What auto contrast passes on to the least and the largest value of each channel, which equal pixels share. `grad`
  // has been multiplied by the factor already.
  void stretch_back(const Op& op, const Planes& values, const Planes& grad) const {
    const int64_t plane = shape_.height * shape_.width;
    for (int64_t c = 0; c < shape_.channels; ++c) {
      const float factor = op.table[2 * c], offset = op.table[2 * c + 1];
      const float *value = values.plane[c], low = *std::min_element(value, value + plane);
      const float high = *std::max_element(value, value + plane);
      if (is_flat(low, high)) continue;
      double sums[2] = {};
      for (int64_t y = 0; y < shape_.height; ++y) {
        const int64_t at = y * shape_.width;
        add_stretch_sums(grad.plane[c] + at, value + at, factor, offset, shape_.width, sums);
      }
      const auto to_low =
          static_cast<float>((sums[1] - sums[0]) / static_cast<double>(std::count(value, value + plane, low)));
      const auto to_high = static_cast<float>(-sums[1] / static_cast<double>(std::count(value, value + plane, high)));
      for (int64_t i = 0; i < plane; ++i) {
        grad.plane[c][i] += value[i] == low ? to_low : value[i] == high ? to_high : 0.0f;
      }
    }
  }

  // The adjoint of the resize: down and then across, a row of the box at a time. Outside the box there is no gradient,
  // and a box with NaN or infinity in it, if it was read, has a gradient of NaN, as one of a view of NaN has.
  void write(const Planes& grad, int64_t row, const Image& image, bool poisoned) {
    const int64_t width = image.width, box = view_.width, n = shape_.width, bytes = pixel_bytes(v_.in);
    s_.across.fill(s_.resize.across, n, box);
    s_.down.fill(s_.resize.down, shape_.height, view_.height);
    float* line = s_.line.at_least(n);
    const int64_t row_stride = padded(width);
    const Planes done = planes(s_.row.at_least(4 * row_stride), row_stride);
    std::fill_n(done.plane[0], 4 * row_stride, 0.0f);
    const float* zero = done.plane[2] + row_stride;
    char* out = static_cast<char*>(p_.out) + (row * v_.channels + first_channel_) * image.height * width * bytes;
    for (int64_t y = 0; y < image.height; ++y) {
      const int64_t j = y - view_.top;
      const bool inside = j >= 0 && j < view_.height;
      for (int64_t c = 0; inside && c < shape_.channels; ++c) {
        add_rows(grad.plane[c] + s_.down.first.get()[j] * n, n, s_.down.taps, s_.down.weight.get() + j, s_.down.stride,
                 line);
        take_back(line, s_.across, box, done.plane[c] + view_.left);
      }
      for (int64_t c = 0; c < shape_.channels; ++c) {
        if (inside && poisoned) std::fill_n(done.plane[c] + view_.left, box, std::numeric_limits<float>::quiet_NaN());
        put(inside ? done.plane[c] : zero, width, out + (c * image.height + y) * width * bytes);
      }
    }
  }

  void put(const float* row, int64_t n, char* out) const {
    if (v_.in != Pixels::kFloat) return narrow_row(row, n, 1, v_.in, out);
    large_.streamed ? stream(out, row, n * 4) : static_cast<void>(std::copy_n(row, n, reinterpret_cast<float*>(out)));
  }

  const ImageAugmentBackward& p_;
  const ImageAugment& v_;
  Scratch& s_;
  const LargeOutput& large_;
  ViewShape shape_{};
  int64_t first_channel_ = 0;
  size_t used_ = 0;
  int32_t of_values_ = 0;  // operations up to the last whose derivative depends on the pixels
  View view_;
  std::vector<Pass> passes_;
  float rest_[kMaxOps], table_[kMaxOps][6];  // of contrast, 1 - factor; of auto contrast, factors and offsets
};

}  // namespace

void image_augment_backward(const ImageAugmentBackward& p, int threads) {
  const ImageAugment& v = p.view;
  const LargeOutput large =
      prepare_large_output(p.out, v.rows * v.channels * v.image.height * v.image.width * pixel_bytes(v.in));
  const int64_t together = v.channels == 3 ? 3 : 1, items = v.rows * (v.channels / together);
#pragma omp parallel num_threads(threads) if (threads > 1 && items > 1)
  {
    Scratch scratch;
    Differentiator differentiator(p, scratch, large);
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < items; ++i) {
      const int64_t groups = v.channels / together;
      differentiator.run(i / groups, i % groups * together, together);
    }
    stream_fence();
  }
}

}  // namespace sslfast::cpu
