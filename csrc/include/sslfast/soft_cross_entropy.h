// Cross-entropy between the softmax of teachers' rows over K prototypes and the softmax of students' rows: a student
// view meets the sum of the targets of the teacher views that it is to predict, as the loss is linear in its target.
#pragma once

#include <cstdint>

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

// Rows of one view, (samples, prototypes), apart by row_stride, within a row contiguous.
struct PrototypeRows {
  const void* data;
  int64_t row_stride;
};

struct SoftCrossEntropy {
  const PrototypeRows* students;  // student_views of them
  const PrototypeRows* teachers;  // teacher_views of them
  Dtype student_dtype, teacher_dtype;
  int64_t student_views, teacher_views, samples, prototypes;
  const void* centers;    // (1 or teacher_views, prototypes), subtracted from teachers' rows, or null
  int64_t center_stride;  // 0 where all teacher views share one
  const void* weights;    // (samples) of the type of sums, or null; a sample of weight 0 is not read
  double student_scale;   // 1 / temperature
  double teacher_scale;
  double grad_factor;   // of the gradient, beside a sample's weight
  bool skip_same_view;  // student view v does not predict teacher view v
  void* losses;         // (student_views, samples), of the type of sums, without weights; 0 for what is not read
  void* grads;          // (student_views, samples, prototypes), in student_dtype, or null
  void* partial;        // (chunks, prototypes), sums of the teachers' rows of kSoftChunk samples each, or null
  void* teacher_sum;    // (prototypes), or null
};

constexpr int64_t kSoftChunk = 8;  // samples that one thread works on: sums do not depend on the number of threads

namespace cpu {

void soft_cross_entropy(const SoftCrossEntropy& params, int threads);

}  // namespace cpu
}  // namespace sslfast
