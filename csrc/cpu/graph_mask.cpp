// Nodes: the orders of all graphs first, as the row of x that each row of the output comes from; then rows are written
// in their order, in one pass. Edges: four a counter.
#include "sslfast/graph_mask.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "copy_rows.h"
#include "isa.h"
#include "random_order.h"
#include "row_arithmetic.h"
#include "shared/node_roles.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kNodesPerThread = 16 << 10;
constexpr int32_t kToken = -1;

graphs::Span span_of(const Graphs& g, int64_t graph) {
  if (!g.ptr) return {0, 0, g.size};
  const int64_t begin = std::clamp<int64_t>(g.ptr[graph], 0, g.size);
  return {graph, begin, std::clamp<int64_t>(g.ptr[graph + 1], begin, g.size)};
}

// One thread's working space.
struct Scratch {
  RandomOrder random;
  std::vector<int32_t> order, donors;
};

// The orders of a graph: numbers of nodes by their places, and compat's donors.
void draw_orders(const Graphs& g, const NodeRule& rule, const graphs::Span& span, uint64_t seed, Scratch& s) {
  const uint64_t id = g.ids[span.graph];
  const int64_t nodes = span.end - span.begin;
  s.order.resize(nodes);
  s.random.draw(graphs::node_order(seed, id), nodes, s.order.data());
  if (!rule.compat) return;
  s.donors.resize(nodes);
  s.random.draw(graphs::donor_order(seed, id), nodes, s.donors.data());
}

int32_t donor_of(const NodeRule& rule, const graphs::Counts& counts, const Scratch& s, int64_t k) {
  return rule.compat ? s.donors[k] : s.order[counts.donor_place(k)];
}

template <typename Graph>
void for_graphs(const Graphs& g, const NodeRule& rule, int threads, Graph graph) {
  const uint64_t seed = g.seed.get();
  threads = team(g.size, kNodesPerThread, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Scratch scratch;
#pragma omp for
    for (int64_t i = 0; i < g.count; ++i) {
      const graphs::Span span = span_of(g, i);
      draw_orders(g, rule, span, seed, scratch);
      graph(span, graphs::Counts(rule, span.end - span.begin), scratch);
    }
  }
}

// source[node]: whose features it gets, or kToken.
void set_sources(const NodeRule& rule, const graphs::Span& span, const graphs::Counts& counts, const Scratch& s,
                 int32_t* source) {
  const auto first = static_cast<int32_t>(span.begin);
  source += first;
  for (int64_t place = 0; place < counts.tokens; ++place) source[s.order[place]] = kToken;
  for (int64_t k = 0; k < counts.replaced; ++k) {
    source[s.order[counts.tokens + k]] = first + donor_of(rule, counts, s, k);
  }
}

void list_nodes(const NodeMask& p, const graphs::Span& span, const graphs::Counts& counts, const Scratch& s) {
  std::fill_n(p.mask + span.begin, counts.nodes, false);
  for (int64_t place = 0; place < counts.nodes; ++place) {
    const int64_t node = span.begin + s.order[place], at = span.begin + place;
    const bool masked = place < counts.masked;
    if (masked) p.mask[node] = true;
    p.masked_nodes[at] = masked || !p.graphs.ptr ? node : -1;
    if (p.graphs.ptr) p.kept_nodes[at] = masked ? -1 : node;
  }
}

std::unique_ptr<int32_t[]> own_sources(int64_t nodes) {
  std::unique_ptr<int32_t[]> sources(new int32_t[nodes]);
  std::iota(sources.get(), sources.get() + nodes, 0);
  return sources;
}

// Which nodes take from each: from d those from taker[first[d]] to taker[first[d + 1]], in ascending order.
struct Takers {
  std::unique_ptr<int32_t[]> sources;
  std::vector<int32_t> first, taker;
};

Takers find_takers(const Graphs& g, const NodeRule& rule, int threads) {
  Takers t{own_sources(g.size), std::vector<int32_t>(g.size + 2, 0), {}};
  for_graphs(g, rule, threads, [&](const graphs::Span& span, const graphs::Counts& counts, const Scratch& s) {
    set_sources(rule, span, counts, s, t.sources.get());
  });
  for (int64_t i = 0; i < g.size; ++i) {
    if (t.sources[i] != kToken && t.sources[i] != i) ++t.first[t.sources[i] + 2];
  }
  std::partial_sum(t.first.begin(), t.first.end(), t.first.begin());
  t.taker.resize(t.first.back());
  for (int32_t i = 0; i < g.size; ++i) {
    if (t.sources[i] != kToken && t.sources[i] != i) t.taker[t.first[t.sources[i] + 1]++] = i;
  }
  return t;
}

template <typename Element>
void backward(const NodeMaskBackward& p, int threads) {
  using Sum = Wide<Element>;
  const int64_t nodes = p.graphs.size, width = p.width, chunks = (nodes + kNodeChunk - 1) / kNodeChunk;
  const Takers takers = find_takers(p.graphs, p.rule, threads);
  const auto row = [&](int64_t i) { return static_cast<const Element*>(p.grad) + i * p.row_stride; };
  auto* total = static_cast<Sum*>(p.mask_token);
  std::vector<Sum> sums(total ? chunks * width : 0, Sum{0});
  threads = team(nodes * width * static_cast<int64_t>(sizeof(Element)), kBytesPerThread, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<Sum> sum(width);
#pragma omp for
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      for (int64_t i = chunk * kNodeChunk; i < std::min(nodes, (chunk + 1) * kNodeChunk); ++i) {
        if (total && takers.sources[i] == kToken) accumulate_row(row(i), width, sums.data() + chunk * width);
        if (!p.x) continue;
        Element* out = static_cast<Element*>(p.x) + i * width;
        const bool stays = takers.sources[i] == i;
        const int32_t first = takers.first[i], last = takers.first[i + 1];
        if (first == last) {
          stays ? convert_row(row(i), width, out) : static_cast<void>(std::fill_n(out, width, Element{}));
          continue;
        }
        std::fill(sum.begin(), sum.end(), Sum{0});
        if (stays) accumulate_row(row(i), width, sum.data());
        for (int32_t t = first; t < last; ++t) accumulate_row(row(takers.taker[t]), width, sum.data());
        convert_row(sum.data(), width, out);
      }
    }
  }
  if (!total) return;
  std::vector<double> all(width, 0.0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) accumulate_row(sums.data() + chunk * width, width, all.data());
  convert_row(all.data(), width, total);
}

constexpr int64_t kChunk = 1024;  // edges; 4 KiB of draws stay in L1

SSLFAST_ISA_CLONES void drop_chunk(uint64_t seed, uint64_t graph, int64_t first, int64_t n, uint64_t threshold,
                                   bool* dropped) {
  uint32_t words[kChunk];
  for (int64_t i = 0; i < (n + 3) / 4; ++i) {
    const Words w = philox(seed, Stream::kEdgeDrop, graph, static_cast<uint32_t>(first / 4 + i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
  for (int64_t i = 0; i < n; ++i) dropped[i] = words[i] < threshold;
}

}  // namespace

void node_mask(const NodeMask& p, int threads) {
  const std::unique_ptr<int32_t[]> sources = own_sources(p.graphs.size);
  if (p.graphs.ptr) {  // what is in no graph
    std::fill_n(p.mask, p.graphs.size, false);
    std::fill_n(p.masked_nodes, p.graphs.size, int64_t{-1});
    std::fill_n(p.kept_nodes, p.graphs.size, int64_t{-1});
  }
  for_graphs(p.graphs, p.rule, threads, [&](const graphs::Span& span, const graphs::Counts& counts, const Scratch& s) {
    set_sources(p.rule, span, counts, s, sources.get());
    list_nodes(p, span, counts, s);
  });
  by_element_size(p.element_size, [&](auto element) {
    using Element = decltype(element);
    const auto* x = static_cast<const Element*>(p.x);
    write_rows<Element>(p.out, p.graphs.size, p.width, threads, [&](int64_t i) -> SourceRow<Element> {
      if (sources[i] == kToken) return {static_cast<const Element*>(p.mask_token), 1};
      return {x + sources[i] * p.x_row_stride, p.x_stride};
    });
  });
}

void node_mask_backward(const NodeMaskBackward& p, int threads) {
  by_dtype(p.dtype, [&](auto element) { backward<decltype(element)>(p, threads); });
}

void edge_mask(const EdgeMask& p, int threads) {
  const Graphs& g = p.graphs;
  const uint64_t seed = g.seed.get();
  if (g.ptr) std::fill_n(p.dropped, g.size, false);  // what is in no graph
  threads = team(g.size, 8 * kNodesPerThread, threads);
  const bool shared = g.count == 1;  // the threads share a graph, or the graphs
#pragma omp parallel for num_threads(threads) if (threads > 1 && !shared)
  for (int64_t i = 0; i < g.count; ++i) {
    const graphs::Span span = span_of(g, i);
    const int64_t edges = span.end - span.begin, chunks = (edges + kChunk - 1) / kChunk;
#pragma omp parallel for num_threads(threads) if (threads > 1 && shared)
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t first = c * kChunk, n = std::min(kChunk, edges - first);
      drop_chunk(seed, g.ids[i], first, n, p.threshold, p.dropped + span.begin + first);
    }
  }
}

}  // namespace sslfast::cpu
