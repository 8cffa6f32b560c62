// The one place that touches torch's stable ABI idioms: checks, allocation, seeds and the hand-over to a backend.
// Every csrc/ops/<stem>.cpp is compiled twice, into _ops.so for the CPU key and, with SSLFAST_WITH_CUDA, into
// _ops_cuda.so for the CUDA key; SSLFAST_KEY and sslfast::backend are what differs.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>

#include "sslfast/launch.h"

namespace sslfast::cpu {}
namespace sslfast::cuda {}

namespace sslfast {

#ifdef SSLFAST_WITH_CUDA
namespace backend = cuda;
#else
namespace backend = cpu;
#endif

#if defined(SSLFAST_WITH_CUDA) && !defined(SSLFAST_CUDA_ON_CPU)  // which tests/cuda_on_cpu defines
#define SSLFAST_KEY CUDA
#else
#define SSLFAST_KEY CPU
#endif

namespace ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Back stop only: the Python functions have checked and said it better.
inline void check(bool condition, const char* message) {
  if (!condition) throw std::runtime_error(message);
}

inline bool here(const Tensor& t) {
#if defined(SSLFAST_WITH_CUDA) && !defined(SSLFAST_CUDA_ON_CPU)
  return t.is_cuda();
#else
  return t.is_cpu();
#endif
}

// An uninitialised tensor on the device of `like`, dense in some order of its dimensions.
inline Tensor empty_strided(std::initializer_list<int64_t> sizes, const int64_t* strides, ScalarType dtype,
                            const Tensor& like) {
  int32_t device_type;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  AtenTensorHandle handle;
  const AOTITorchError error =
      aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.begin(), strides, static_cast<int32_t>(dtype),
                               device_type, like.get_device_index(), &handle);
  if (error != AOTI_TORCH_SUCCESS) {
    int64_t elements = 1;
    for (const int64_t size : sizes) elements *= size;
    // Tools that look for a batch size that fits know torch's words by heart.
    throw std::runtime_error(std::string(like.is_cuda() ? "CUDA out of memory." : "out of memory:") +
                             " sslfast tried to allocate " + std::to_string(elements) + " elements");
  }
  return Tensor(handle);
}

// The same, contiguous.
inline Tensor empty(std::initializer_list<int64_t> sizes, ScalarType dtype, const Tensor& like) {
  int64_t strides[8] = {};
  check(sizes.size() <= 8, "sslfast: at most 8 dimensions");
  int64_t stride = 1;
  for (int64_t d = static_cast<int64_t>(sizes.size()) - 1; d >= 0; --d) {
    strides[d] = stride;
    stride *= sizes.begin()[d];
  }
  return empty_strided(sizes, strides, dtype, like);
}

inline Seed read_seed(const Tensor& seed) {
  check(seed.scalar_type() == ScalarType::Long && seed.numel() == 1, "sslfast: seed must be one int64");
  const auto* pointer = seed.const_data_ptr<int64_t>();
  if (seed.is_cpu()) return {nullptr, static_cast<uint64_t>(*pointer)};
  check(here(seed), "sslfast: seed must be on the CPU or on the device of the data");
  return {pointer, 0};
}

inline Rows read_rows(const std::optional<Tensor>& sample_ids, int64_t row_offset, int64_t rows) {
  if (!sample_ids) return {nullptr, row_offset};
  check(sample_ids->scalar_type() == ScalarType::Long && sample_ids->dim() == 1 && sample_ids->size(0) == rows &&
            sample_ids->is_contiguous() && here(*sample_ids),
        "sslfast: sample_ids must be contiguous int64, one a row, on the device of the data");
  return {sample_ids->const_data_ptr<int64_t>(), 0};
}

// Runs backend::<op>(params, threads or stream) on the device of `like`.
template <typename Launcher, typename Params>
void launch(Launcher launcher, const Params& params, [[maybe_unused]] const Tensor& like) {
#ifdef SSLFAST_WITH_CUDA
  const torch::stable::accelerator::DeviceGuard guard(like.get_device_index());
  void* stream;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(like.get_device_index(), &stream));
  const cudaError_t error = launcher(params, static_cast<cudaStream_t>(stream));
  if (error != cudaSuccess) throw std::runtime_error(std::string("sslfast: CUDA: ") + cudaGetErrorString(error));
#else
  launcher(params, static_cast<int>(torch::stable::get_num_threads()));
#endif
}

}  // namespace ops
}  // namespace sslfast
