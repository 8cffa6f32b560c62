// The work of csrc/cuda/image_augment.cu and image_augment_passes.cu on the CPU: their blocks one after the other, each
// up to where all of them meet, the lanes of a block by turns, each from one barrier to the next. Whatever needs a
// barrier that is not there comes out wrong in one of the two orders.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "cpu/element_types.h"
#include "shared/image_augment_block.h"
#include "shared/image_augment_walk.h"
#include "turns.h"

using namespace sslfast;
using namespace sslfast::augment;

struct alignas(16) float4 {
  float x[4];
};

static int64_t stores[3] = {};  // of one element, two and four
static int64_t reads[3] = {};   // of one element, of a word, of sixteen bytes

struct Memory {
  static uint32_t word(const uint32_t* at) {
    if (reinterpret_cast<uintptr_t>(at) % 4 != 0) std::abort();
    ++reads[1];
    return *at;
  }

  static Sixteen sixteen(const Sixteen* at) {
    if (reinterpret_cast<uintptr_t>(at) % 16 != 0) std::abort();
    ++reads[2];
    return *at;
  }

  static float widen(Pixels type, uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    if (type == Pixels::kFloat) return value;
    const auto half = static_cast<uint16_t>(bits);
    return type == Pixels::kBFloat16 ? cpu::widen(Brain16{half}) : cpu::widen(Half16{half});
  }

  template <bool kBytes>
  static float load(const void* pixels, Pixels type, int64_t i) {
    ++reads[0];
    if (kBytes) return static_cast<const uint8_t*>(pixels)[i];
    if (type == Pixels::kFloat) return static_cast<const float*>(pixels)[i];
    if (type == Pixels::kBFloat16) return cpu::widen(static_cast<const Brain16*>(pixels)[i]);
    return cpu::widen(static_cast<const Half16*>(pixels)[i]);
  }

  static void store(void* out, Pixels type, int64_t i, float x) {
    if (type == Pixels::kFloat) {
      static_cast<float*>(out)[i] = x;
    } else if (type == Pixels::kBFloat16) {
      cpu::narrow(x, static_cast<Brain16*>(out)[i]);
    } else if (type == Pixels::kHalf) {
      cpu::narrow(x, static_cast<Half16*>(out)[i]);
    } else {
      static_cast<uint8_t*>(out)[i] = static_cast<uint8_t>(static_cast<int32_t>(x + 0.5f));
    }
    ++stores[0];
  }

  static void four(const float* at, float* x) {
    if (reinterpret_cast<uintptr_t>(at) % 16 != 0) std::abort();
    std::copy_n(at, 4, x);
  }

  static void put_four(float* at, const float* x) {
    if (reinterpret_cast<uintptr_t>(at) % 16 != 0) std::abort();
    std::copy_n(x, 4, at);
  }

  static void store_two(void* out, Pixels type, int64_t i, const float* x) { store_all<2>(out, type, i, x); }
  static void store_four(void* out, Pixels type, int64_t i, const float* x) { store_all<4>(out, type, i, x); }

 private:
  template <int kCount>
  static void store_all(void* out, Pixels type, int64_t i, const float* x) {
    const auto bytes = static_cast<uint64_t>(pixel_bytes(type));
    if ((reinterpret_cast<uintptr_t>(out) + static_cast<uint64_t>(i) * bytes) % (kCount * bytes) != 0) std::abort();
    for (int k = 0; k < kCount; ++k) store(out, type, i + k, x[k]);
    stores[0] -= kCount;
    ++stores[kCount / 2];
  }
};

struct Team {
  int32_t lane, lanes;
  Turns* turns;

  void barrier() const { turns->barrier(); }
  void meet() const { turns->meet(); }
  void add(int32_t* at, int32_t n) const { *at += n; }
  void read_view(const ImageAugment& p, const float* params, const Image& image, View& view) const {
    augment::read_view(p, params, image, view);
  }
};

template <bool kBytes, int kChannels>
static void make(ImageAugment p, const Whole& list, int lanes, bool reversed, int64_t many_blocks) {
  const int64_t items = items_of(p, kChannels);
  const Tiles tiles = tiles_of_block(p, items, many_blocks);
  std::vector<double> sums(items * tiles.count, std::nan(""));
  const auto floats = static_cast<size_t>(list.shared_floats(kChannels));
  std::vector<float> around(floats + 64);  // and some that nobody may write
  auto block = std::make_unique<Block>();
  Turns turns(1, lanes, reversed);
  for (int step = list.contrast ? 0 : 1; step < 2; ++step) {
    for (int64_t i = 0; i < items * tiles.blocks; ++i) {
      std::memset(block.get(), 0xFF, sizeof(Block));  // what is read before it is written is no number
      std::fill(around.begin(), around.end(), std::numeric_limits<float>::quiet_NaN());
      turns.run([&](int, int lane) {
        const Team team{lane, lanes, &turns};
        Maker<Memory, kBytes, kChannels, Team> maker(p, i / tiles.blocks, *block, team);
        const auto from = static_cast<int32_t>(i % tiles.blocks) * tiles.each;
        if (step == 1) return maker.make(tiles, from, sums.data(), around.data());
        if constexpr (kChannels != 4) {
          if (maker.has_contrast()) maker.sum_gray(tiles, from, sums.data());
        }
      });
      for (size_t k = floats; k < around.size(); ++k) {
        if (!std::isnan(around[k])) std::abort();
      }
    }
  }
}

// As a GPU that holds so many blocks at once, with so much memory for planes. Returns how many blocks share a view.
template <bool kBytes, int kChannels>
static int walk(ImageAugment p, int lanes, bool reversed, int64_t most_blocks, int64_t bytes) {
  const Waits list = waits_of(p);
  Walk w = walk_of(p, list, most_blocks, bytes);
  std::vector<float4> memory(static_cast<size_t>(lay_out(w, nullptr)) / 16 + 16);  // it begins at multiples of 256
  void* begin = memory.data();
  size_t room = memory.size() * 16;
  std::memset(begin, 0xFF, room);
  lay_out(w, std::align(256, 1, begin, room));
  const auto floats = static_cast<size_t>(list.shared_floats(kChannels));
  const size_t around = floats / 4 + 17;  // and some that nobody may write
  const auto blocks = static_cast<int>(w.slots * w.parts);
  std::vector<WalkBlock> block(blocks);
  std::vector<float4> all_around(blocks * around);
  std::memset(static_cast<void*>(block.data()), 0xFF, blocks * sizeof(WalkBlock));
  std::memset(all_around.data(), 0xFF, all_around.size() * 16);
  const auto around_of = [&](int b) { return reinterpret_cast<float*>(all_around.data() + b * around); };
  Turns turns(blocks, lanes, reversed);
  turns.run([&](int b, int lane) {
    const Team team{lane, lanes, &turns};
    Walker<Memory, kBytes, kChannels, Team>(p, w, b, block[b], around_of(b), team).walk();
  });
  for (int b = 0; b < blocks; ++b) {
    for (int k = 0; k < 64; ++k) {
      if (!std::isnan(around_of(b)[floats + k])) std::abort();
    }
  }
  return w.parts;
}

// Returns how many stores took four elements, or -1 if the list cannot be made whole; with a number of blocks that walk
// over passes, and bytes for what waits, by how many of them a view is shared. `image` is height, width and three
// strides; form is rows, row stride, channels, views, columns, steps, height, width, numbers of lists of fills.
extern "C" int make_views(const void* data, const int64_t* image, const int64_t* form, int in, int out_type,
                          const float* params, const int64_t* codes, const double* settings, const double* mean,
                          const double* std, int channels_last, void* out, int lanes, int reversed, int64_t many_blocks,
                          int64_t walking_blocks, int64_t waiting_bytes) {
  ImageAugment p{};
  p.image = {data, image[0], image[1], image[2], image[3], image[4]};
  p.rows = form[0];
  p.row_stride = form[1];
  p.channels = form[2];
  p.views = form[3];
  p.columns = form[4];
  p.out_height = form[6];
  p.out_width = form[7];
  p.in = static_cast<Pixels>(in);
  p.out_type = static_cast<Pixels>(out_type);
  p.params = params;
  p.channels_last = channels_last != 0;
  p.out = out;
  describe(p, static_cast<int32_t>(form[5]), codes, settings, form[8], mean, std);
  std::fill_n(stores, 3, 0);
  std::fill_n(reads, 3, 0);
  const bool bytes = p.in == Pixels::kUint8;
  if (walking_blocks > 0) {
    const int32_t group = waits_of(p).group_of(p.channels);
    const auto walks = bytes ? std::array{walk<true, 1>, walk<true, 3>, walk<true, 4>}
                             : std::array{walk<false, 1>, walk<false, 3>, walk<false, 4>};
    return walks[group / 2](p, lanes, reversed, walking_blocks, waiting_bytes);
  }
  const Whole list = whole_of(p);
  if (!list.possible) return -1;
  const int32_t group = list.group_of(p.channels);
  const auto makes = bytes ? std::array{make<true, 1>, make<true, 3>, make<true, 4>}
                           : std::array{make<false, 1>, make<false, 3>, make<false, 4>};
  makes[group / 2](p, list, lanes, reversed, many_blocks);
  return static_cast<int>(stores[2]);
}

// What passes need for rows of one view each, by two steps of RandAugment, on a GPU of so many multiprocessors: bytes,
// views at once, blocks that share one.
extern "C" void plan_walk(int64_t rows, int64_t channels, int64_t height, int64_t width, int64_t processors,
                          int64_t* found) {
  ImageAugment p{};
  p.rows = rows;
  p.views = 1;
  p.channels = channels;
  p.out_height = height;
  p.out_width = width;
  p.steps = 3;
  p.step[1].code = p.step[2].code = kStepChoice;
  Walk w = walk_of(p, waits_of(p), processors * kBlocksEach);
  found[0] = lay_out(w, nullptr);
  found[1] = w.slots;
  found[2] = w.parts;
}

// Shared memory of a block that has all channels, for a blur of this reach: of views made whole, and of passes.
extern "C" void shared_bytes(int channels, int across, int down, int64_t* found) {
  Whole whole;
  Waits waits;
  whole.reach_across = waits.reach_across = across;
  whole.reach_down = waits.reach_down = down;
  if (whole.shared_floats(channels) > Whole::most_shared_floats(channels)) std::abort();
  if (waits.shared_floats(channels) > Waits::most_shared_floats(channels)) std::abort();
  found[0] = int64_t{4} * whole.shared_floats(channels) + static_cast<int64_t>(sizeof(Block));
  found[1] = int64_t{4} * waits.shared_floats(channels) + static_cast<int64_t>(sizeof(WalkBlock));
}

// How often the last call stored one element, two and four.
extern "C" void count_stores(int64_t* counts) { std::copy_n(stores, 3, counts); }

// How often the last call read one element, a word, and sixteen bytes.
extern "C" void count_reads(int64_t* counts) { std::copy_n(reads, 3, counts); }
