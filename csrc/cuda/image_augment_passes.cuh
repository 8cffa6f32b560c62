// Views of any list of steps, by image_augment_passes.cu, on the current device.
#pragma once

#include "sslfast/image_augment.h"

namespace sslfast::cuda {

// Bytes of p.scratch.
int64_t passes_scratch(const ImageAugment& p);
cudaError_t make_in_passes(const ImageAugment& p, cudaStream_t stream);

}  // namespace sslfast::cuda
