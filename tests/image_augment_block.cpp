// The work of csrc/cuda/image_augment.cu and image_augment_passes.cu on the CPU: their blocks one after the other, the
// lanes of a block by turns, each from one barrier to the next. Whatever needs a barrier that is not there comes out
// wrong in one of the two orders.
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "cpu/element_types.h"
#include "shared/image_augment_block.h"
#include "shared/image_augment_walk.h"

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

// Lanes that run by turns, in either order.
class Turns {
 public:
  Turns(int lanes, bool reversed) : lanes_(lanes), reversed_(reversed), stacks_(lanes * kStack), contexts_(lanes) {}

  void run(const std::function<void(int)>& body) {
    body_ = &body;
    done_.assign(lanes_, false);
    for (int lane = 0; lane < lanes_; ++lane) {
      getcontext(&contexts_[lane]);
      contexts_[lane].uc_stack.ss_sp = stacks_.data() + lane * kStack;
      contexts_[lane].uc_stack.ss_size = kStack;
      contexts_[lane].uc_link = &home_;
      makecontext(&contexts_[lane], reinterpret_cast<void (*)()>(&Turns::begin), 0);
    }
    self = this;
    int left = lanes_;
    while (left > 0) {
      const int before = left;
      for (int turn = 0; turn < lanes_; ++turn) {
        lane_ = reversed_ ? lanes_ - 1 - turn : turn;
        if (done_[lane_]) continue;
        swapcontext(&home_, &contexts_[lane_]);
        left -= done_[lane_];
      }
      if (left != 0 && left != before) std::abort();  // a barrier that some lanes do not come to
    }
  }

  void barrier() { swapcontext(&contexts_[lane_], &home_); }

 private:
  static constexpr size_t kStack = size_t{1} << 16;
  static Turns* self;
  static void begin() {
    const int lane = self->lane_;
    (*self->body_)(lane);
    self->done_[lane] = true;
  }

  int lanes_, lane_ = 0;
  bool reversed_;
  std::vector<char> stacks_;
  std::vector<ucontext_t> contexts_;
  std::vector<bool> done_;
  const std::function<void(int)>* body_ = nullptr;
  ucontext_t home_;
};
Turns* Turns::self = nullptr;

struct Team {
  int32_t lane, lanes;
  Turns* turns;

  void barrier() const { turns->barrier(); }
  void add(int32_t* at, int32_t n) const { *at += n; }
  void read_view(const ImageAugment& p, const float* params, const Image& image, View& view) const {
    augment::read_view(p, params, image, view);
  }
};

template <bool kBytes, int kChannels>
static void make(ImageAugment p, const Whole& list, int lanes, bool reversed, int64_t many_blocks) {
  const int64_t items = p.rows * p.views * (p.channels / kChannels);
  const Tiles tiles = tiles_of_block(p, items, many_blocks);
  std::vector<double> sums(items * tiles.count, std::nan(""));
  const auto floats = static_cast<size_t>(list.shared_floats(kChannels));
  std::vector<float> around(floats + 64);  // and some that nobody may write
  auto block = std::make_unique<Block>();
  Turns turns(lanes, reversed);
  for (int step = list.contrast ? 0 : 1; step < 2; ++step) {
    for (int64_t i = 0; i < items * tiles.blocks; ++i) {
      std::memset(block.get(), 0xFF, sizeof(Block));  // what is read before it is written is no number
      std::fill(around.begin(), around.end(), std::numeric_limits<float>::quiet_NaN());
      turns.run([&](int lane) {
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

// As the launches of a GPU of so many multiprocessors. Returns how many there are.
template <bool kBytes, int kChannels>
static int walk(ImageAugment p, int lanes, bool reversed, int64_t processors) {
  const Waits list = waits_of(p);
  Walk w = walk_of(p, list, processors);
  std::vector<float4> memory(static_cast<size_t>(lay_out(w, nullptr)) / 16 + 16);  // it begins at multiples of 256
  void* begin = memory.data();
  size_t room = memory.size() * 16;
  std::memset(begin, 0xFF, room);
  lay_out(w, std::align(256, 1, begin, room));
  const auto floats = static_cast<size_t>(list.shared_floats(kChannels));
  std::vector<float4> around(floats / 4 + 17);  // and some that nobody may write
  const float* past = reinterpret_cast<float*>(around.data()) + floats;
  auto block = std::make_unique<WalkBlock>();
  Turns turns(lanes, reversed);
  const auto blocks = [&](int64_t grid, int32_t first, int32_t last) {
    for (int64_t b = 0; b < grid; ++b) {
      std::memset(block.get(), 0xFF, sizeof(WalkBlock));
      std::memset(around.data(), 0xFF, around.size() * 16);
      turns.run([&](int lane) {
        for (int64_t i = b; i < w.items * w.parts; i += grid) {
          const int64_t item = i / w.parts;
          const Team team{lane, lanes, &turns};
          Walker<Memory, kBytes, kChannels, Team> walker(p, w, w.first + item, w.shared ? item : b,
                                                         static_cast<int32_t>(i % w.parts), *block,
                                                         reinterpret_cast<float*>(around.data()), team);
          walker.walk(first, last);
        }
      });
      for (int k = 0; k < 64; ++k) {
        if (!std::isnan(past[k])) std::abort();
      }
    }
  };
  if (!w.shared) {
    blocks(w.slots, 0, list.passes);
    return 1;
  }
  int launches = 0;
  for (const int64_t items = items_of(p); w.first < items; w.first += w.slots) {
    w.items = std::min(w.slots, items - w.first);
    for (int32_t pass = 0; pass < list.passes; ++pass, ++launches) {
      std::fill_n(w.count + pass % 2 * w.slots * kCounts, w.items * kCounts, 0);
      blocks(w.items * w.parts, pass, pass + 1);
    }
  }
  return launches;
}

// Returns how many stores took four elements, or -1 if the list cannot be made whole; with a number of multiprocessors
// how many launches made the views pass by pass. `image` is height, width and three strides; form is rows, row stride,
// channels, views, columns, steps, height, width, numbers of lists of fills.
extern "C" int make_views(const void* data, const int64_t* image, const int64_t* form, int in, int out_type,
                          const float* params, const int64_t* codes, const double* settings, const double* mean,
                          const double* std, int channels_last, void* out, int lanes, int reversed, int64_t many_blocks,
                          int64_t processors) {
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
  const bool bytes = p.in == Pixels::kUint8, colour = p.channels == 3;
  if (processors > 0) {
    if (bytes) return (colour ? walk<true, 3> : walk<true, 1>)(p, lanes, reversed, processors);
    return (colour ? walk<false, 3> : walk<false, 1>)(p, lanes, reversed, processors);
  }
  const Whole list = whole_of(p);
  if (!list.possible) return -1;
  const int32_t group = list.group_of(p.channels);
  const auto chosen = bytes ? (group == 4 ? make<true, 4>
                               : colour   ? make<true, 3>
                                          : make<true, 1>)
                            : (group == 4 ? make<false, 4>
                               : colour   ? make<false, 3>
                                          : make<false, 1>);
  chosen(p, list, lanes, reversed, many_blocks);
  return static_cast<int>(stores[2]);
}

// What passes need for rows of one view each, by two steps of RandAugment: bytes, whether views are shared, blocks.
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
  Walk w = walk_of(p, waits_of(p), processors);
  found[0] = lay_out(w, nullptr);
  found[1] = w.shared;
  found[2] = w.shared ? w.items * w.parts : w.slots;
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
