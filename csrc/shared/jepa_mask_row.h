// Blocks of one row of I-JEPA's and V-JEPA's masks.
#pragma once

#include "block_mask_row.h"
#include "jepa_lists.h"

namespace sslfast::jepa {

using blocks::uniform;

// Height and width of a block of the given share and aspect, within the grid; strictly within where `inside`.
SSLFAST_HD Rectangle block_size(int64_t height, int64_t width, double scale, double aspect, bool inside) {
  using namespace portable;
  const int64_t patches = static_cast<int64_t>(mul(static_cast<double>(height * width), scale));
  const double area = static_cast<double>(patches);
  int64_t h = static_cast<int64_t>(round_half_even(square_root(mul(area, aspect))));
  int64_t w = static_cast<int64_t>(round_half_even(square_root(div(area, aspect))));
  h = h > height - inside ? height - inside : h;
  w = w > width - inside ? width - inside : w;
  return {0, 0, h < 1 ? 1 : h, w < 1 ? 1 : w};
}

// The sizes of a batch: number 0 of the targets, number 1 of the contexts. Not exact: one draw decides share and
// aspect.
SSLFAST_HD Rectangle ijepa_size(const IJepaMask& p, uint64_t seed, uint32_t number) {
  const Words w = philox(seed, Stream::kJepaSize, static_cast<uint64_t>(p.batch_number), number);
  const JepaSize& size = number == 0 ? p.predictor : p.encoder;
  const double scale = uniform(w.word[0], size.scale_low, size.scale_high);
  const double aspect = uniform(w.word[p.contexts.exact ? 1 : 0], size.aspect_low, size.aspect_high);
  return block_size(p.height, p.contexts.width, scale, aspect, !p.contexts.exact);
}

// Not exact: the last place of each side is left out.
SSLFAST_HD void ijepa_place(const IJepaMask& p, uint64_t seed, uint64_t row, int64_t element, Rectangle& block) {
  const Words w = philox(seed, Stream::kJepaPlace, row, static_cast<uint32_t>(element));
  const int64_t down = p.height - block.height + p.contexts.exact;
  const int64_t right = p.contexts.width - block.width + p.contexts.exact;
  block.top = uniform_below(w.word[0], static_cast<uint64_t>(down < 1 ? 1 : down));
  block.left = uniform_below(w.word[1], static_cast<uint64_t>(right < 1 ? 1 : right));
}

// Writes the targets of a row, and the bits and counts of its contexts. `blocked`: the grid in bits; `targets`: one a
// block. What every lane reads there, one lane has written before a barrier.
SSLFAST_HD void ijepa_row(const IJepaMask& p, uint64_t seed, int64_t r, const BitGrid& blocked, Rectangle* targets,
                          Lanes lanes) {
  const JepaLists& lists = p.contexts;
  const uint64_t row = lists.row_ids[r];
  const Rectangle target_size = ijepa_size(p, seed, 0), context_size = ijepa_size(p, seed, 1);
  for (int64_t j = lanes.first; j < p.predictors; j += lanes.step) {
    Rectangle block = target_size;
    ijepa_place(p, seed, row, j, block);
    targets[j] = block;
  }
  lane_barrier();
  for (int64_t j = 0; j < p.predictors; ++j) {
    const Rectangle block = targets[j];
    int64_t* out = p.targets + (j * lists.rows + r) * p.target_capacity;
    for (int64_t y = 0; y < block.height; ++y) {
      for (int64_t x = lanes.first; x < block.width; x += lanes.step) {
        out[y * block.width + x] = (block.top + y) * lists.width + block.left + x;
      }
    }
    for (int64_t i = block.height * block.width + lanes.first; i < p.target_capacity; i += lanes.step) out[i] = -1;
  }
  const int64_t last = p.allow_overlap ? 0 : kPlaceTries * p.predictors;
  const int64_t least = lists.exact ? (p.min_keep < 1 ? 1 : p.min_keep) : p.min_keep + 1;
  for (int64_t e = 0; e < lists.lists; ++e) {
    Rectangle block = context_size;
    int64_t avoided = -1, count = 0;
    for (int64_t attempt = 0; attempt <= last && count < least; ++attempt) {
      const int64_t avoid = p.allow_overlap ? 0 : p.predictors - attempt / kPlaceTries;
      if (avoid != avoided) {
        avoided = avoid;
        blocked.clear(lanes);
        for (int64_t j = 0; j < avoid; ++j) blocked.fill(targets[j], lanes);
      }
      ijepa_place(p, seed, row, p.predictors + e * (last + 1) + attempt, block);
      count = block.height * block.width - blocked.count(block, lanes);
    }
    uint64_t* bits = lists.bits + (e * lists.rows + r) * blocked.height * blocked.words;
    for (int64_t i = lanes.first; i < blocked.height * blocked.words; i += lanes.step) {
      const int64_t y = i / blocked.words;
      const uint64_t span = span_bits(block.left, block.left + block.width, i % blocked.words);
      bits[i] = y >= block.top && y < block.top + block.height ? span & ~blocked.bits[i] : 0;
    }
    if (lanes.first == 0) lists.counts[e * lists.rows + r] = count;
    lane_barrier();
  }
}

struct Cuboid {
  int64_t frames;
  Rectangle block;
};

SSLFAST_HD Cuboid vjepa_size(const VJepaMask& p, uint64_t seed) {
  using namespace portable;
  const Words w = philox(seed, Stream::kVJepaSize, static_cast<uint64_t>(p.batch_number), 0);
  const double share = uniform(w.word[0], p.temporal_low, p.temporal_high);
  const int64_t frames = static_cast<int64_t>(mul(static_cast<double>(p.frames), share));
  const double scale = uniform(w.word[1], p.size.scale_low, p.size.scale_high);
  const double aspect = uniform(w.word[2], p.size.aspect_low, p.size.aspect_high);
  return {frames < 1 ? 1 : frames, block_size(p.height, p.lists.width, scale, aspect, false)};
}

// Writes the bits and counts of a row's two lists. `blocked`: the grid in bits, the frames below one another. Blocks
// that leave no context are drawn again; after so many tries, one less.
SSLFAST_HD void vjepa_row(const VJepaMask& p, uint64_t seed, int64_t r, const BitGrid& blocked, Lanes lanes) {
  const JepaLists& lists = p.lists;
  const uint64_t row = lists.row_ids[r];
  const Cuboid size = vjepa_size(p, seed);
  const int64_t patches = lists.lines * lists.width;
  int64_t count = 0;
  for (int64_t attempt = 0; attempt < kPlaceTries * p.blocks && count == 0; ++attempt) {
    blocked.clear(lanes);
    if (p.context_frames < p.frames) {
      const int64_t first = p.context_frames * p.height;
      blocked.fill({first, 0, lists.lines - first, lists.width}, lanes);
    }
    for (int64_t j = 0; j < p.blocks - attempt / kPlaceTries; ++j) {
      const uint32_t element = static_cast<uint32_t>(attempt * p.blocks + j);
      const Words w = philox(seed, Stream::kVJepaPlace, row, element);
      Rectangle block = size.block;
      const int64_t top = uniform_below(w.word[0], static_cast<uint64_t>(p.height - block.height + 1));
      block.left = uniform_below(w.word[1], static_cast<uint64_t>(lists.width - block.width + 1));
      const int64_t start = uniform_below(w.word[2], static_cast<uint64_t>(p.frames - size.frames + 1));
      for (int64_t frame = start; frame < start + size.frames; ++frame) {
        block.top = frame * p.height + top;
        blocked.fill(block, lanes);
      }
    }
    count = patches - blocked.count({0, 0, lists.lines, lists.width}, lanes);
  }
  const int64_t words = lists.lines * blocked.words;
  uint64_t* context = lists.bits + r * words;
  uint64_t* targets = lists.bits + (lists.rows + r) * words;
  for (int64_t i = lanes.first; i < words; i += lanes.step) {
    context[i] = span_bits(0, lists.width, i % blocked.words) & ~blocked.bits[i];
    targets[i] = blocked.bits[i];
  }
  if (lanes.first == 0) {
    lists.counts[r] = count;
    lists.counts[lists.rows + r] = patches - count;
  }
}

}  // namespace sslfast::jepa
