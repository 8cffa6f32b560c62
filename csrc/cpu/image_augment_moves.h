// Blur, sharpness and affine maps, which take a view's pixels from a neighbourhood: their rows, and their adjoints.
#pragma once

#include "image_augment_blur.h"
#include "image_augment_rows.h"

namespace sslfast::cpu {

// Buffers of one thread.
struct MoveScratch {
  Buffer<float> line, weight, blurred;
  Buffer<const float*> rows;
};

// Pixel -1 is pixel 1, and so on from either end as often as it takes. Nearly all pixels lie inside, and two
// divisions for each took a tenth of a blurred view's time.
inline int64_t reflected(int64_t i, int64_t n) {
  if (i >= 0 && i < n) return i;
  if (n == 1) return 0;
  const int64_t period = 2 * n - 2;
  i = ((i % period) + period) % period;
  return i < n ? i : period - i;
}

// A view of 1 or 3 channels, whose planes are readable and writable for kMaxLanes more than their pixels.
struct ViewShape {
  int64_t height, width, channels;

  int64_t plane() const { return padded(height * width) + kMaxLanes; }  // from one to the next
};

// One operation on a view.
class Move {
 public:
  Move(const augment::Op& op, const ViewShape& shape, MoveScratch& scratch);

  // Row y of the result for `from`, and behind it count() - 1 more. They hold until the next call.
  Planes rows(const Planes& from, int64_t y);
  int64_t count() const { return count_; }

  // All of a blur of one channel, normalised on the way to where it stays. Rows are of a multiple of kMaxLanes.
  void blur_to(const float* from, BlurredRow to);

  // grad, that of the result, becomes that of what the operation took: `before`, which only sharpness reads. `spare` is
  // as large as grad; the two may swap.
  void back(const Planes& before, Planes& grad, Planes& spare);

 private:
  Planes blurred(const Planes& from, int64_t y);
  void blur_rows(const float* from, int64_t y, BlurredRow to);
  Planes sharpened(const Planes& from, int64_t y);
  Planes moved(const Planes& from, int64_t y);
  void blur_back(float* grad, float* spare);
  void sharpness_back(const float* before, float* grad, float* spare);
  void affine_back(const Planes& grad, const Planes& spare);

  const augment::Op& op_;
  const ViewShape shape_;
  MoveScratch& s_;
  int64_t count_ = 1;
  int32_t reach_across_ = 0, reach_down_ = 0;  // of a blur
  float *across_ = nullptr, *down_ = nullptr;  // its weights, from the middle on
};

}  // namespace sslfast::cpu
