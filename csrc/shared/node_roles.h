// What becomes of the nodes of one graph, by their places in its random order: tokens first, then nodes with another's
// features, then nodes that stay, all of these masked, then the others.
#pragma once

#include "portable_double.h"
#include "random_order.h"
#include "sslfast/graph_mask.h"

namespace sslfast::graphs {

constexpr uint32_t kDonorElement = 1u << 31;  // where the counters of compat's donors begin

struct Span {
  int64_t graph, begin, end;
};

// The graph of an item of the batch: the last that begins at it or before. An empty span if it is in none.
SSLFAST_HD Span graph_of(const Graphs& g, int64_t item) {
  if (!g.ptr) return {0, 0, g.size};
  int64_t low = 0, high = g.count;  // ptr[low] <= item < ptr[high], where ptr is right
  while (low + 1 < high) {
    const int64_t middle = (low + high) / 2;
    (g.ptr[middle] <= item ? low : high) = middle;
  }
  const Span span{low, g.ptr[low], g.ptr[low + 1]};
  return span.begin < 0 || item < span.begin || item >= span.end || span.end > g.size ? Span{0, 0, 0} : span;
}

struct Counts {
  int64_t nodes, masked, tokens, replaced;

  SSLFAST_HD Counts(const NodeRule& rule, int64_t n) : nodes(n) {
    const int64_t slack = rule.compat ? 0 : 1;
    masked = share(n, rule.mask_rate, slack);
    replaced = !rule.compat && masked == n ? 0 : share(masked, rule.replace_rate, slack);
    int64_t rest = masked - replaced;
    if (rule.compat && replaced > 0) {  // GraphMAE rounds the token's share down too: a node may stay
      const int64_t part = share(masked, portable::sub(1.0, rule.replace_rate), 0);
      rest = part < rest ? part : rest;
    }
    const int64_t stay = share(masked, rule.keep_rate, slack);
    tokens = stay < rest ? rest - stay : 0;
  }

  // The place that gives to the k-th replaced node, and how many it gives to if it stands at `place`.
  SSLFAST_HD int64_t donor_place(int64_t k) const { return masked + k % (nodes - masked); }
  SSLFAST_HD int64_t takers_of(int64_t place) const {
    const int64_t first = place - masked;
    return place < masked || first >= replaced ? 0 : (replaced - 1 - first) / (nodes - masked) + 1;
  }
  SSLFAST_HD bool is_replaced(int64_t place) const { return place >= tokens && place < tokens + replaced; }

 private:
  // Rounded down, with slack 1 as exact arithmetic would: of 100 at 0.29 these are 29, not the 28.99.. of doubles.
  SSLFAST_HD static int64_t share(int64_t total, double rate, int64_t slack) {
    const double n = static_cast<double>(total), above = portable::mul(1e-12, static_cast<double>(slack * total));
    const int64_t part = static_cast<int64_t>(portable::add(portable::mul(n, rate), above));
    return part < total ? part : total;
  }
};

SSLFAST_HD OrderDraw node_order(uint64_t seed, uint64_t graph) { return {seed, Stream::kNodeOrder, graph, 0}; }
SSLFAST_HD OrderDraw donor_order(uint64_t seed, uint64_t graph) {
  return {seed, Stream::kNodeOrder, graph, kDonorElement};
}

// Whether the edge with a number in its graph is dropped; the words of its counter.
SSLFAST_HD bool dropped(const Words& w, int64_t edge, uint64_t threshold) {
  uint32_t word = w.word[0];  // an index would go through memory
  word = edge % 4 == 1 ? w.word[1] : word;
  word = edge % 4 == 2 ? w.word[2] : word;
  word = edge % 4 == 3 ? w.word[3] : word;
  return word < threshold;
}

}  // namespace sslfast::graphs
