#include "sslfast/frame_indices.h"

#include <optional>

#include "tensor.h"

namespace sslfast::ops {

static Tensor frame_indices(const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                            const std::optional<Tensor>& lengths, int64_t rows, int64_t frames, int64_t clips,
                            int64_t clip_length, int64_t stride, bool segments, bool random, bool loop,
                            int64_t row_offset) {
  constexpr int64_t most = int64_t{1} << 31;
  check(rows >= 0 && frames >= 0 && frames < most && clips >= 1 && clip_length >= 1 && clip_length < most &&
            stride >= 1 && stride < most && clips < most / clip_length,
        "frame_indices: sizes out of range");
  check(!lengths || (lengths->scalar_type() == ScalarType::Long && lengths->dim() == 1 && lengths->size(0) == rows &&
                     lengths->is_contiguous() && here(*lengths)),
        "frame_indices: lengths must be contiguous int64, one a row");
  Tensor out = empty({rows, clips, clip_length}, ScalarType::Long, like);
  const FrameIndices p{read_seed(seed),
                       read_rows(sample_ids, row_offset, rows),
                       lengths ? lengths->const_data_ptr<int64_t>() : nullptr,
                       rows,
                       frames,
                       clips,
                       clip_length,
                       stride,
                       segments,
                       random,
                       loop,
                       out.mutable_data_ptr<int64_t>()};
  launch([](const auto& params, auto where) { return backend::frame_indices(params, where); }, p, like);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("frame_indices", TORCH_BOX(&frame_indices)); }

}  // namespace sslfast::ops
