// One row of numbers per (sample, view): about 0.3 microseconds each, so no vectorisation, only threads.
#include "../shared/image_augment_sample.h"

namespace sslfast::cpu {

void image_augment_params(const ImageAugmentParams& p, int threads) {
  const uint64_t seed = p.seed.get();
  const int64_t views = p.rows * p.views;
  const bool points = sample::has_points(p);
#pragma omp parallel for num_threads(threads) if (threads > 1 && views > 1024)
  for (int64_t i = 0; i < views; ++i) {
    sample::sample_view(p, seed, i / p.views, i % p.views, p.out + i * p.columns);
    if (points) sample::keep_points(p, p.out + i * p.columns);
    for (int32_t number = 0; number < p.erases; ++number) {
      sample::sample_erase(p, seed, i / p.views, i % p.views, number, p.out + i * p.columns);
    }
  }
}

}  // namespace sslfast::cpu
