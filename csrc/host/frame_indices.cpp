#include "sslfast/frame_indices.h"

#include "arrays.h"

namespace sslfast::host {

static Array<int64_t> frame_indices(uint64_t seed, std::optional<Array<int64_t>> sample_ids,
                                    std::optional<Array<int64_t>> lengths, int64_t rows, int64_t frames, int64_t clips,
                                    int64_t clip_length, int64_t stride, bool segments, bool random, bool loop,
                                    int64_t row_offset, int threads) {
  Array<int64_t> out({rows, clips, clip_length});
  const FrameIndices p{{nullptr, seed},
                       read_rows(sample_ids, row_offset),
                       lengths ? lengths->data() : nullptr,
                       rows,
                       frames,
                       clips,
                       clip_length,
                       stride,
                       segments,
                       random,
                       loop,
                       out.mutable_data()};
  py::gil_scoped_release release;
  cpu::frame_indices(p, threads);
  return out;
}

void bind_frame_indices(py::module_& m) { m.def("frame_indices", &frame_indices); }

}  // namespace sslfast::host
