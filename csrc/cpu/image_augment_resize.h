// The rows of a view as they come from the source: box, resize, place in the view, flips.
#pragma once

#include "image_augment_rows.h"

namespace sslfast::cpu {

// Buffers of one thread.
struct ResizeScratch {
  Table across, down;
  Buffer<uint8_t> bytes;  // the source rows of one output row, where pixels lie apart
  Buffer<float> floats;   // the same, of other types
  Buffer<float> source;   // source rows of 3 channels, converted or averaged: 1 or, of a small box, all
  Buffer<float> resized;  // source rows of 3 channels, resized: 2 or, of a small box, all
};

// Resizes the box of one view, 1 or 3 channels, one output row at a time and in any order. Where the box is no taller
// than the view, each source row is resized across once and two of them are blended per output row; else the source
// rows are averaged first, contiguously, and the average is resized. A small box is resized across at once.
class Resizer {
 public:
  Resizer(const ImageAugment& p, const Image& image, int64_t first_channel, int64_t channels, const augment::View& v,
          ResizeScratch& scratch);

  // Sets the input of `row` to output row y. The planes hold until the next call.
  void set(int64_t y, Row& row);

  // Has a pixel been NaN or infinite?
  bool poisoned() const { return poisoned_; }

 private:
  Planes resized_once(int32_t y);
  void resize(int32_t y, int32_t taps, const float* weight, int64_t count, const Planes& out);
  void resize_bytes(int32_t y, const Planes& out);
  void prefetch(const uint8_t* pixels, int64_t next) const;
  void unpack_bytes(const uint8_t* pixels, int64_t rows);
  void unpack_floats(const char* pixels, int64_t rows);
  void fill_outside(int64_t count, const Planes& out) const;

  ResizeScratch& s_;
  Image image_;  // the box
  Pixels type_;
  int64_t pixel_bytes_, channels_, view_width_, view_stride_;
  float fill_, fills_[3];  // the setting, and what it says of each channel
  float unit_ = 1.0f;      // what kept rows are to be multiplied by
  bool widths_first_, whole_, bytes_, poisoned_ = false;
  Planes kept_;  // two rows, or with whole_ all rows of the box and one more
  int32_t held_[2] = {-1, -1};
};

}  // namespace sslfast::cpu
