#include "sslfast/huge_pages.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace sslfast::cpu {

void advise_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] int64_t bytes) {
#ifdef __linux__
  constexpr intptr_t kHugePage = 2 << 20;
  const intptr_t first = reinterpret_cast<intptr_t>(data);
  const intptr_t begin = (first + kHugePage - 1) / kHugePage * kHugePage;
  const intptr_t end = (first + bytes) / kHugePage * kHugePage;
  if (end > begin + kHugePage) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace sslfast::cpu
