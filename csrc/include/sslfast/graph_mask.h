#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

// The graphs of a batch, one behind the other: graph g has the nodes, or edges, ptr[g] to ptr[g + 1]. Numbers in the
// draws count within the graph. Where ptr does not rise from 0 to size, what lies in no graph is left as it is, what
// lies in several is anything, and nothing outside of the arrays is touched.
struct Graphs {
  const int64_t* ptr;  // (count + 1), or null: one graph of all
  int64_t count, size;
  Seed seed;
  Rows ids;
};

// Of n nodes n * mask_rate are masked, of these that number times replace_rate get another's features, times keep_rate
// stay as they are, and all others become the token; each product rounded down. Donors are the unmasked nodes, each in
// turn, and there is none where all are masked: then the token takes their place. Compat: donors are random nodes.
struct NodeRule {
  double mask_rate, replace_rate, keep_rate;
  bool compat;
};

// A row of `out` is a row of x or the token: elements of `element_size` bytes are moved whatever they mean, each row
// read and written once, and what is masked never read but where it gives or stays. Strides in elements.
struct NodeMask {
  Graphs graphs;
  NodeRule rule;
  int64_t width, element_size;
  const void* x;
  int64_t x_row_stride, x_stride;
  const void* mask_token;  // (width), or null: zeros
  void* out;               // (size, width)
  bool* mask;              // (size)
  int64_t* masked_nodes;   // (size): without ptr the order of the nodes, the masked first; with it that of every graph,
  int64_t* kept_nodes;     // -1 where a node is not masked; and the same of the others, -1 where it is, else unused
};

// Its backward: a node's gradient is grad where it stays as it is, and that of the nodes to which it gives.
struct NodeMaskBackward {
  Graphs graphs;
  NodeRule rule;
  int64_t width;
  const void* grad;  // (size, width), innermost stride 1
  int64_t row_stride;
  Dtype dtype;
  void* x;           // (size, width), or null
  void* mask_token;  // (width): the sum over the nodes that became the token, in float or, for double, double; or null
  void* scratch;     // the GPU's working memory: scratch_rows(chunks of kNodeChunk) rows of sums
};

constexpr int64_t kNodeChunk = 128;  // places whose sum one thread or block makes, in order

// Each edge by itself with the event "word < threshold".
struct EdgeMask {
  Graphs graphs;
  uint64_t threshold;
  bool* dropped;  // (size)
};

namespace cpu {
void node_mask(const NodeMask& p, int threads);
void node_mask_backward(const NodeMaskBackward& p, int threads);
void edge_mask(const EdgeMask& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t node_mask(const NodeMask& p, cudaStream_t stream);
cudaError_t node_mask_backward(const NodeMaskBackward& p, cudaStream_t stream);
cudaError_t edge_mask(const EdgeMask& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
