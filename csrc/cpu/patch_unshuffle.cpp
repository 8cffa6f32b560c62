// The forward copies rows: what a masked place gets, the mask token plus its position, is the same in every row of the
// batch and is made once. The backward takes a few places of every row at a time, so that their sums over the batch
// stay in the first cache and belong to one thread; the mask token's sum is then folded over the places, in order.
#include "sslfast/patch_unshuffle.h"

#include <type_traits>
#include <vector>

#include "copy_rows.h"
#include "row_arithmetic.h"
#include "shared/patch_place.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kTileBytes = 16 << 10;  // sums of the places that are taken at a time

template <typename In, typename Out>
void unshuffle(const PatchUnshuffle& p, int threads) {
  const int64_t length = p.prefix + p.patches;
  const auto* tokens = static_cast<const In*>(p.tokens);
  const auto* mask_token = static_cast<const Out*>(p.mask_token);
  const auto* positions = static_cast<const Out*>(p.positions);
  const int64_t team_size = team(p.rows * length * p.width * sizeof(Out), kBytesPerThread, threads);
  std::vector<Out> masked(positions ? length * p.width : 0), kept(team_size * p.width);
  for (int64_t l = 0; positions && l < length; ++l) {
    add_row(mask_token, positions + l * p.width, p.width, masked.data() + l * p.width);
  }
  const auto source = [&](int64_t i) -> SourceRow<Out> {
    const int64_t n = i / length, l = i % length;
    const int64_t token = token_at(p.ids_restore + n * p.patches, l, p.prefix, p.keep);
    if (token < 0) return {positions ? masked.data() + l * p.width : mask_token, 1};
    const In* row = tokens + n * p.row_stride + token * p.token_stride;
    if constexpr (std::is_same_v<In, Out>) {
      if (!positions) return {row, 1};
    }
    Out* sum = kept.data() + omp_get_thread_num() * p.width;
    positions ? add_row(row, positions + l * p.width, p.width, sum) : convert_row(row, p.width, sum);
    return {sum, 1};
  };
  write_rows<Out>(p.out, p.rows * length, p.width, static_cast<int>(team_size), source);
}

// Sums of rows in blocks of kUnshuffleRows, one rounding a block where the totals are double.
template <typename T, typename Total>
struct BlockSums {
  std::vector<T> block;
  Total* total;
  int64_t rows = 0;  // in the block

  BlockSums(Total* total, int64_t count) : block(total ? count : 0), total(total) {
    if (total) std::fill(total, total + count, Total{0});
  }
  void fold() {
    if (!total) return;
    accumulate_row(block.data(), static_cast<int64_t>(block.size()), total);
    std::fill(block.begin(), block.end(), T{0});
    rows = 0;
  }
};

template <typename In, typename Out>
void backward_tile(const PatchUnshuffleBackward& p, int64_t begin, int64_t end,
                   BlockSums<Wide<Out>, Wide<Out>>& positions, BlockSums<Wide<Out>, double>& mask_token,
                   bool streamed) {
  const auto* grad = static_cast<const Out*>(p.grad);
  auto* tokens = static_cast<In*>(p.tokens);
  for (int64_t n = 0; n < p.rows; ++n) {
    for (int64_t l = begin; l < end; ++l) {
      const Out* row = grad + n * p.row_stride + l * p.token_stride;
      const int64_t token = token_at(p.ids_restore + n * p.patches, l, p.prefix, p.keep);
      if (token < 0) {
        if (mask_token.total) accumulate_row(row, p.width, mask_token.block.data());
        if (++mask_token.rows == kUnshuffleRows) mask_token.fold();
      } else if (tokens) {
        In* to = tokens + (n * (p.prefix + p.keep) + token) * p.width;
        if (std::is_same_v<In, Out> && streamed) {
          stream(to, row, p.width * sizeof(In));
        } else {
          convert_row(row, p.width, to);
        }
      }
      if (positions.total) accumulate_row(row, p.width, positions.block.data() + (l - begin) * p.width);
    }
    if (++positions.rows == kUnshuffleRows) positions.fold();
  }
  positions.fold();
  mask_token.fold();
}

template <typename In, typename Out>
void unshuffle_backward(const PatchUnshuffleBackward& p, int threads) {
  using Sum = Wide<Out>;
  const int64_t length = p.prefix + p.patches, row_bytes = p.width * sizeof(Sum);
  const int64_t tile = std::clamp<int64_t>(kTileBytes / std::max<int64_t>(row_bytes, 1), 1, length);
  const int64_t tiles = (length + tile - 1) / tile;
  auto* mask_token = static_cast<Sum*>(p.mask_token);
  auto* positions = static_cast<Sum*>(p.positions);
  std::vector<double> of_tiles(mask_token ? tiles * p.width : 0);
  const int64_t token_bytes = p.tokens ? p.rows * (p.prefix + p.keep) * p.width * sizeof(In) : 0;
  const bool streamed = prepare_large_output(p.tokens, token_bytes).streamed;
  threads = static_cast<int>(std::min<int64_t>(tiles, team(p.rows * length * row_bytes, kBytesPerThread, threads)));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t begin = t * tile, end = std::min(length, begin + tile);
    BlockSums<Sum, Sum> at_places(positions ? positions + begin * p.width : nullptr, (end - begin) * p.width);
    BlockSums<Sum, double> of_tile(mask_token ? of_tiles.data() + t * p.width : nullptr, p.width);
    backward_tile<In, Out>(p, begin, end, at_places, of_tile, streamed);
    stream_fence();
  }
  if (!mask_token) return;
  for (int64_t t = 1; t < tiles; ++t) accumulate_row(of_tiles.data() + t * p.width, p.width, of_tiles.data());
  convert_row(of_tiles.data(), p.width, mask_token);
}

// Calls function with values of the types of tokens and of the decoder's input.
template <typename Function>
void by_dtypes(Dtype dtype, Dtype out_dtype, Function function) {
  by_dtype(dtype, [&](auto in) {
    using In = decltype(in);
    if (out_dtype == dtype) return function(in, in);
    if constexpr (std::is_same_v<In, Brain16> || std::is_same_v<In, Half16>) function(in, float{});
  });
}

}  // namespace

Misplaced first_misplaced(const int64_t* ids, int64_t rows, int64_t patches) {
  std::vector<int64_t> seen_in(patches, -1);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t l = 0; l < patches; ++l) {
      const int64_t place = ids[r * patches + l];
      if (place < 0 || place >= patches) return {r, place, false};
      if (seen_in[place] == r) return {r, place, true};
      seen_in[place] = r;
    }
  }
  return {-1, 0, false};
}

void patch_unshuffle(const PatchUnshuffle& p, int threads) {
  by_dtypes(p.dtype, p.out_dtype, [&](auto in, auto out) { unshuffle<decltype(in), decltype(out)>(p, threads); });
}

void patch_unshuffle_backward(const PatchUnshuffleBackward& p, int threads) {
  by_dtypes(p.dtype, p.out_dtype,
            [&](auto in, auto out) { unshuffle_backward<decltype(in), decltype(out)>(p, threads); });
}

}  // namespace sslfast::cpu
