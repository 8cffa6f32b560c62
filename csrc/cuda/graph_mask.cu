// Masked nodes and dropped edges, one launch each, no host synchronisation, nothing atomic.
// Nodes: a thread takes one place of its graph's random order and finds the node there by itself, and the donor where
// it needs one (shared/random_order.h); then its warp moves the rows of all 32. Nothing is sorted, and the order is
// never in memory but as the lists that are returned. Bytes: the rows read, but for those that become the token, and
// written; 17 a node of mask and lists. Backward: x's gradient is gathered, each row by the warp that writes it; the
// token's is summed chunk by chunk in the order of the places and folded by column_sum.cuh: equal in every run.
#include "column_sum.cuh"
#include "copy_units.cuh"
#include "packs.cuh"
#include "shared/node_roles.h"
#include "sslfast/graph_mask.h"

namespace sslfast::cuda {
namespace {

constexpr int64_t kToken = -1, kNone = -2;

// The order of one graph as one thread sees it. A short one is in shared memory, a byte a node, kStride bytes apart.
template <int kStride>
struct ThreadOrder {
  OrderDraw draw;
  Rectangle sides;
  uint8_t* order;
  bool shuffled;

  __device__ ThreadOrder(const OrderDraw& d, int64_t n, uint8_t* memory)
      : draw(d), sides(n > kShuffled ? n : kShuffled + 1), order(memory), shuffled(n <= kShuffled) {
    if (shuffled) shuffle(d, static_cast<int>(n), memory, kStride);
  }

  __device__ int64_t at(int64_t place) const {
    if (shuffled) return order[place * kStride];
    return number_at(sides, DrawnShifts{draw, sides}, static_cast<uint32_t>(place));
  }

  __device__ int64_t place(int64_t number) const {
    if (shuffled) return shuffled_place(order, kStride, static_cast<uint32_t>(number));
    return place_of(sides, DrawnShifts{draw, sides}, static_cast<uint32_t>(number));
  }
};

constexpr int kThreads = kWarp * kRowsPerBlock;

template <typename Unit>
__global__ void __launch_bounds__(kThreads) mask_nodes(NodeMask p) {
  __shared__ uint8_t memory[kShuffled * kThreads];
  const int thread = threadIdx.y * kWarp + threadIdx.x;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + thread;
  int64_t node = kNone, source = kNone;
  const graphs::Span span = at < p.graphs.size ? graphs::graph_of(p.graphs, at) : graphs::Span{};
  if (at < p.graphs.size && span.begin == span.end) {  // in no graph
    node = source = at;
    p.mask[at] = false;
    p.masked_nodes[at] = p.kept_nodes[at] = -1;
  } else if (at < p.graphs.size) {
    const graphs::Counts counts(p.rule, span.end - span.begin);
    const uint64_t seed = p.graphs.seed.get(), id = p.graphs.ids[span.graph];
    const int64_t place = at - span.begin, k = place - counts.tokens;
    const bool masked = place < counts.masked, donated = counts.is_replaced(place);
    const ThreadOrder<kThreads> order(graphs::node_order(seed, id), counts.nodes, memory + thread);
    node = span.begin + order.at(place);
    source = place < counts.tokens ? kToken : node;
    if (donated && !p.rule.compat) source = span.begin + order.at(counts.donor_place(k));
    if (donated && p.rule.compat) {  // the first order is not needed any more
      source = span.begin + ThreadOrder<kThreads>(graphs::donor_order(seed, id), counts.nodes, memory + thread).at(k);
    }
    p.mask[node] = masked;
    p.masked_nodes[at] = masked || !p.graphs.ptr ? node : -1;
    if (p.graphs.ptr) p.kept_nodes[at] = masked ? -1 : node;
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    const int64_t to = __shfl_sync(0xFFFFFFFFu, node, lane), from = __shfl_sync(0xFFFFFFFFu, source, lane);
    if (to == kNone) continue;
    const Unit* row =
        from == kToken ? static_cast<const Unit*>(p.mask_token) : static_cast<const Unit*>(p.x) + from * p.x_row_stride;
    copy_row(static_cast<Unit*>(p.out) + to * p.width, row, p.width, from == kToken ? int64_t{1} : p.x_stride);
  }
}

// A block has kNodeChunk places.
template <typename T>
__global__ void __launch_bounds__(kNodeChunk) mask_nodes_backward(NodeMaskBackward p) {
  __shared__ uint8_t memory[2][kShuffled * kNodeChunk];
  __shared__ int64_t token_nodes[kNodeChunk];
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kNodeChunk + threadIdx.x;
  const graphs::Span span = at < p.graphs.size ? graphs::graph_of(p.graphs, at) : graphs::Span{};
  const graphs::Counts counts(p.rule, span.end - span.begin);
  const uint64_t seed = p.graphs.seed.get(), id = p.graphs.ids[span.graph];
  const ThreadOrder<kNodeChunk> order(graphs::node_order(seed, id), counts.nodes, memory[0] + threadIdx.x);
  int64_t node = kNone, first_taker = 0, takers = 0;
  bool stays = false;
  token_nodes[threadIdx.x] = kNone;
  if (at < p.graphs.size && span.begin == span.end) {  // in no graph
    node = at;
    stays = true;
  } else if (at < p.graphs.size) {
    const int64_t place = at - span.begin;
    node = span.begin + order.at(place);
    stays = place >= counts.tokens && !counts.is_replaced(place);
    if (place < counts.tokens) token_nodes[threadIdx.x] = node;
    if (p.rule.compat) {
      const ThreadOrder<kNodeChunk> donors(graphs::donor_order(seed, id), counts.nodes, memory[1] + threadIdx.x);
      first_taker = donors.place(node - span.begin);
      takers = first_taker < counts.replaced;
    } else {
      first_taker = place - counts.masked;
      takers = counts.takers_of(place);
    }
  }
  const int64_t step = counts.nodes - counts.masked;
  const auto taker = [&](int64_t t) { return span.begin + order.at(counts.tokens + first_taker + t * step); };
  const int64_t first = takers > 0 ? taker(0) : kNone;
  const int lane = threadIdx.x % kWarp;
  const auto grad = [&](int64_t i, int64_t d) {
    return static_cast<Wide<T>>(static_cast<const T*>(p.grad)[i * p.row_stride + d]);
  };
  for (int row = 0; p.x && row < kWarp; ++row) {
    const int64_t to = __shfl_sync(0xFFFFFFFFu, node, row), given = __shfl_sync(0xFFFFFFFFu, first, row);
    const int64_t count = __shfl_sync(0xFFFFFFFFu, takers, row);
    const bool own = __shfl_sync(0xFFFFFFFFu, static_cast<int>(stays), row);
    if (to == kNone) continue;
    for (int64_t base = 0; base < p.width; base += kWarp) {  // all lanes take every step: takers are shared
      const int64_t d = base + lane;
      Wide<T> sum = own && d < p.width ? grad(to, d) : Wide<T>{0};
      for (int64_t t = 0; t < count; ++t) {  // more than one only where few nodes are not masked
        const int64_t found = t > 0 && lane == row ? taker(t) : kNone;
        const int64_t from = t > 0 ? __shfl_sync(0xFFFFFFFFu, found, row) : given;
        if (d < p.width) sum += grad(from, d);
      }
      if (d < p.width) static_cast<T*>(p.x)[to * p.width + d] = static_cast<T>(sum);
    }
  }
  if (!p.mask_token) return;
  __syncthreads();
  for (int64_t d = threadIdx.x; d < p.width; d += kNodeChunk) {
    Wide<T> sum = 0;
    for (int i = 0; i < kNodeChunk; ++i) {
      if (token_nodes[i] != kNone) sum += grad(token_nodes[i], d);
    }
    static_cast<Wide<T>*>(p.scratch)[static_cast<int64_t>(blockIdx.x) * p.width + d] = sum;
  }
}

template <typename T>
cudaError_t run_backward(const NodeMaskBackward& p, cudaStream_t stream) {
  const int64_t chunks = (p.graphs.size + kNodeChunk - 1) / kNodeChunk;
  if (chunks > INT32_MAX) return cudaErrorInvalidConfiguration;
  if (chunks > 0) mask_nodes_backward<T><<<static_cast<unsigned>(chunks), kNodeChunk, 0, stream>>>(p);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess || !p.mask_token) return error;
  return sum_columns(static_cast<Wide<T>*>(p.scratch), chunks, p.width, static_cast<Wide<T>*>(p.mask_token), stream);
}

constexpr int kEdgeThreads = 256;

__global__ void __launch_bounds__(kEdgeThreads) drop_edges(EdgeMask p) {
  const int64_t first = 4 * (static_cast<int64_t>(blockIdx.x) * kEdgeThreads + threadIdx.x);
  const uint64_t seed = p.graphs.seed.get();
  graphs::Span span{0, 0, 0};
  Words words{};
  int64_t counter = -1;
  for (int64_t at = first; at < min(first + 4, p.graphs.size); ++at) {
    if (at >= span.end) {
      span = graphs::graph_of(p.graphs, at);
      counter = -1;
    }
    const int64_t edge = at - span.begin;
    if (edge / 4 != counter) {
      counter = edge / 4;
      words = philox(seed, Stream::kEdgeDrop, p.graphs.ids[span.graph], static_cast<uint32_t>(counter));
    }
    p.dropped[at] = at < span.end && graphs::dropped(words, edge, p.threshold);
  }
}

}  // namespace

cudaError_t node_mask(const NodeMask& params, cudaStream_t stream) {
  NodeMask p = params;
  int64_t no_stride = 0;
  bool wide = aligned(p.mask_token);
  wide = wide && widen(p.x, p.element_size, p.x_row_stride, no_stride, p.x_stride, p.width);
  return for_unit(wide, p.element_size, (p.graphs.size + kWarp - 1) / kWarp,
                  [&](auto unit, dim3 grid, dim3 block) { mask_nodes<decltype(unit)><<<grid, block, 0, stream>>>(p); });
}

cudaError_t node_mask_backward(const NodeMaskBackward& p, cudaStream_t stream) {
  cudaError_t error = cudaErrorInvalidValue;
  by_dtype(p.dtype, [&](auto element) { error = run_backward<decltype(element)>(p, stream); });
  return error;
}

cudaError_t edge_mask(const EdgeMask& p, cudaStream_t stream) {
  const int64_t blocks = (p.graphs.size + 4 * kEdgeThreads - 1) / (4 * kEdgeThreads);
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  drop_edges<<<static_cast<unsigned>(blocks), kEdgeThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
