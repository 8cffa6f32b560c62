// What image_augment.cpp does to a row. Each function picks its instruction set when it is first called.
#pragma once

#include <memory>
#include <new>

#include "../shared/image_augment_colour.h"
#include "../shared/image_augment_taps.h"

namespace sslfast::cpu {

constexpr int64_t kMaxLanes = 16;    // of any instruction set; rows of scratch are padded to it
constexpr int64_t kRowsAtOnce = 16;  // of a view that waits: so many are painted as one

inline int64_t padded(int64_t n) { return (n + kMaxLanes - 1) / kMaxLanes * kMaxLanes; }

// A buffer that grows, aligned to a cache line. What it held is lost when it does; it begins as zeros.
template <typename T>
class Buffer {
 public:
  T* get() const { return data_.get(); }
  T* at_least(int64_t size) {
    if (size > size_) {
      data_.reset(new (kLine) T[size]());
      size_ = size;
    }
    return data_.get();
  }

 private:
  static constexpr std::align_val_t kLine{64};
  struct Delete {
    void operator()(T* data) const { ::operator delete[](data, kLine); }
  };
  std::unique_ptr<T[], Delete> data_;
  int64_t size_ = 0;
};

// The taps of a row of outputs: outputs offset to offset + n - 1 of an axis, or these from the last to the first.
// weight[k * stride + i] belongs to source pixel first[i] + k. Outputs outside [inside_from, inside_to) lie outside the
// axis and have no weights, unless `padding` says which stand for them. For every `lanes` outputs, base is the lowest
// first and shift what is to be added to it; their taps lie in `window` pixels. `windowed`: that is at most 2 * lanes.
struct Table {
  int64_t stride = 0, inside_from = 0, inside_to = 0;
  int32_t taps = 0, window = 0;
  bool windowed = false;
  Buffer<int32_t> first, base, shift;
  Buffer<float> weight, share;

  void fill(const augment::Axis& axis, int64_t offset, int64_t n, bool reversed, int32_t padding);
};

// Three bytes a pixel, side by side, into three rows.
void unpack_rgb(const uint8_t* pixels, int64_t n, uint8_t* r, uint8_t* g, uint8_t* b);

struct Planes {
  float* plane[3];

  Planes moved(int64_t by) const { return {{plane[0] + by, plane[1] + by, plane[2] + by}}; }
};

inline Planes planes(float* first, int64_t stride) { return {{first, first + stride, first + 2 * stride}}; }

// Rows of the source, of one channel and `channel_stride` further on the next; strides in elements.
template <typename In>
struct SourceRows {
  const In* pixels;
  int64_t row_stride, channel_stride, width;
};

// The average of `taps` source rows, bytes divided by 255, by weight[k * weight_stride], of every channel; `count`
// times, each one source row and out_stride further on.
void average_rows(const SourceRows<uint8_t>& from, int64_t channels, int32_t taps, const float* weight,
                  int64_t weight_stride, int64_t count, const Planes& out, int64_t out_stride);
void average_rows(const SourceRows<float>& from, int64_t channels, int32_t taps, const float* weight,
                  int64_t weight_stride, int64_t count, const Planes& out, int64_t out_stride);

// Resizes a row of every channel to n outputs; `count` rows. They are readable for 2 * kMaxLanes more than their
// pixels, and those of out are writable up to padded(n).
void resample_rows(const Planes& rows, int64_t stride, int64_t channels, int64_t count, const Table& table,
                   const Planes& out, int64_t out_stride, int64_t n);

constexpr int64_t kByteWindow = 64;  // pixels of a row of bytes that lie in one vector

// Can resample_bytes() do it, on this CPU?
bool resamples_bytes(const Table& table);

// Resizes a row of bytes, which are not divided by 255. It is readable for kByteWindow more than its width, and out is
// writable up to padded(n).
void resample_bytes(const SourceRows<uint8_t>& row, int64_t channels, const Table& table, const Planes& out, int64_t n);

// A row of a view on its way through operations that work on pixels alone.
struct Row {
  int64_t n, channels;
  Planes top, bottom;  // the row is top_weight * top + bottom_weight * bottom, or top where blend is false
  bool blend;
  float top_weight, bottom_weight;
  const augment::Op* op;
  int32_t ops;
  bool hold;    // keep the row as it is; else multiply by gain and add offset
  bool stream;  // past the caches; out is aligned to cache lines then
  Planes out;   // may be top
  const float *gain, *offset;
};

// Returns the sum of the gray values of a row that is held.
double paint(const Row& row);

// The row between `above` and `below`, blended by 1 - factor with its average over 3 x 3 pixels, the middle one five
// times. Its first and last pixel stay.
void sharpen(const float* above, const float* row, const float* below, float factor, int64_t n, float* out);

// n floats to the type of the output; those for bytes, in [0, 255], are rounded.
void narrow_row(const float* row, int64_t n, int64_t out_stride, Pixels type, void* out);

// The same for three rows whose pixels lie side by side in `out`.
void interleave_rows(const Planes& rows, int64_t n, Pixels type, void* out);

// n pixels, not bytes, to floats; true where one of them is not finite.
bool widen_row(const void* pixels, int64_t stride, Pixels type, int64_t n, float* out);

}  // namespace sslfast::cpu
