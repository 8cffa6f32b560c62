#include "sslfast/graph_mask.h"

#include "arrays.h"

namespace sslfast::host {

static Graphs read_graphs(uint64_t seed, const std::optional<Array<int64_t>>& sample_ids,
                          const std::optional<Array<int64_t>>& ptr, int64_t size, int64_t row_offset) {
  return {ptr ? ptr->data() : nullptr,
          ptr ? ptr->shape(0) - 1 : 1,
          size,
          {nullptr, seed},
          read_rows(sample_ids, row_offset)};
}

// Arrays of any type whose elements lie whole strides apart: sslfast/host checks that.
static py::tuple node_mask(const py::array& x, const std::optional<py::array>& mask_token, py::array& out,
                           uint64_t seed, const std::optional<Array<int64_t>>& sample_ids,
                           const std::optional<Array<int64_t>>& ptr, double mask_rate, double replace_rate,
                           double keep_rate, bool compat, int64_t row_offset, int threads) {
  const int64_t nodes = x.shape(0);
  Array<bool> mask(nodes);
  Array<int64_t> masked_nodes(nodes), kept_nodes(ptr ? nodes : 0);
  NodeMask p{};
  p.graphs = read_graphs(seed, sample_ids, ptr, nodes, row_offset);
  p.rule = {mask_rate, replace_rate, keep_rate, compat};
  p.width = x.shape(1);
  p.element_size = x.itemsize();
  p.x = x.data();
  p.x_row_stride = x.strides(0) / p.element_size;
  p.x_stride = x.strides(1) / p.element_size;
  p.mask_token = mask_token ? mask_token->data() : nullptr;
  p.out = out.mutable_data();
  p.mask = mask.mutable_data();
  p.masked_nodes = masked_nodes.mutable_data();
  p.kept_nodes = kept_nodes.mutable_data();
  {
    py::gil_scoped_release release;
    cpu::node_mask(p, threads);
  }
  return py::make_tuple(mask, masked_nodes, kept_nodes);
}

static Array<bool> edge_mask(int64_t edges, double probability, uint64_t seed,
                             const std::optional<Array<int64_t>>& sample_ids, const std::optional<Array<int64_t>>& ptr,
                             int64_t row_offset, int threads) {
  Array<bool> dropped(edges);
  const EdgeMask p{read_graphs(seed, sample_ids, ptr, edges, row_offset), probability_threshold(probability),
                   dropped.mutable_data()};
  py::gil_scoped_release release;
  cpu::edge_mask(p, threads);
  return dropped;
}

void bind_graph_mask(py::module_& m) {
  m.def("node_mask", &node_mask);
  m.def("edge_mask", &edge_mask);
}

}  // namespace sslfast::host
