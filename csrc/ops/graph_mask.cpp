#include "sslfast/graph_mask.h"

#include <optional>
#include <tuple>

#include "dtype.h"
#include "sslfast/scratch_rows.h"

namespace sslfast::ops {

static Graphs read_graphs(const Tensor& seed, const std::optional<Tensor>& sample_ids, const std::optional<Tensor>& ptr,
                          int64_t size, int64_t row_offset) {
  Graphs g{nullptr, 1, size, read_seed(seed), {}};
  check(size >= 0 && size < int64_t{1} << 31, "graph_mask: at most 2^31 - 1 nodes or edges");
  if (ptr) {
    check(ptr->scalar_type() == ScalarType::Long && ptr->dim() == 1 && ptr->is_contiguous() && here(*ptr) &&
              ptr->size(0) >= 1,
          "graph_mask: ptr must be contiguous int64 (graphs + 1)");
    g.count = ptr->size(0) - 1;
    check(g.count >= 1 || size == 0, "graph_mask: nodes of no graph");
    g.ptr = ptr->const_data_ptr<int64_t>();
  }
  g.ids = read_rows(sample_ids, row_offset, g.count);
  return g;
}

static NodeRule read_rule(double mask_rate, double replace_rate, double keep_rate, bool compat) {
  check(mask_rate >= 0 && mask_rate <= 1 && replace_rate >= 0 && replace_rate <= 1 && keep_rate >= 0 && keep_rate <= 1,
        "node_mask: no such rule");
  return {mask_rate, replace_rate, keep_rate, compat};
}

static std::tuple<Tensor, Tensor, Tensor, Tensor> node_mask(const Tensor& x, const std::optional<Tensor>& mask_token,
                                                            const Tensor& seed, const std::optional<Tensor>& sample_ids,
                                                            const std::optional<Tensor>& ptr, double mask_rate,
                                                            double replace_rate, double keep_rate, bool compat,
                                                            int64_t row_offset) {
  check(x.dim() == 2 && here(x) && x.element_size() <= 8, "node_mask: x must be (nodes, width)");
  check(!mask_token || (mask_token->dim() == 1 && mask_token->size(0) == x.size(1) && mask_token->is_contiguous() &&
                        mask_token->scalar_type() == x.scalar_type() && here(*mask_token)),
        "node_mask: mask_token must be contiguous (width) in the dtype of x");
  NodeMask p{};
  const int64_t nodes = x.size(0);
  p.graphs = read_graphs(seed, sample_ids, ptr, nodes, row_offset);
  p.rule = read_rule(mask_rate, replace_rate, keep_rate, compat);
  p.width = x.size(1);
  p.element_size = static_cast<int64_t>(x.element_size());
  Tensor out = empty({nodes, p.width}, x.scalar_type(), x);
  Tensor mask = empty({nodes}, ScalarType::Bool, x);
  Tensor masked_nodes = empty({nodes}, ScalarType::Long, x);
  Tensor kept_nodes = empty({ptr ? nodes : 0}, ScalarType::Long, x);
  p.x = x.const_data_ptr();
  p.x_row_stride = x.stride(0);
  p.x_stride = x.stride(1);
  p.mask_token = mask_token ? mask_token->const_data_ptr() : nullptr;
  p.out = out.mutable_data_ptr();
  p.mask = mask.mutable_data_ptr<bool>();
  p.masked_nodes = masked_nodes.mutable_data_ptr<int64_t>();
  p.kept_nodes = kept_nodes.mutable_data_ptr<int64_t>();
  launch([](const NodeMask& params, auto where) { return backend::node_mask(params, where); }, p, x);
  return {out, mask, masked_nodes, kept_nodes};
}

static std::tuple<Tensor, Tensor> node_mask_backward(const Tensor& grad, const Tensor& seed,
                                                     const std::optional<Tensor>& sample_ids,
                                                     const std::optional<Tensor>& ptr, double mask_rate,
                                                     double replace_rate, double keep_rate, bool compat, bool need_x,
                                                     bool need_mask_token, int64_t row_offset) {
  check(grad.dim() == 2 && here(grad) && (grad.stride(1) == 1 || grad.size(1) <= 1),
        "node_mask_backward: grad must be (nodes, width) with contiguous rows");
  NodeMaskBackward p{};
  const int64_t nodes = grad.size(0);
  p.graphs = read_graphs(seed, sample_ids, ptr, nodes, row_offset);
  p.rule = read_rule(mask_rate, replace_rate, keep_rate, compat);
  p.width = grad.size(1);
  const ScalarType sums = wide(grad.scalar_type());
  Tensor x = empty({need_x ? nodes : 0, p.width}, grad.scalar_type(), grad);
  Tensor mask_token = empty({need_mask_token ? p.width : 0}, sums, grad);
#ifdef SSLFAST_WITH_CUDA
  const int64_t chunks = (nodes + kNodeChunk - 1) / kNodeChunk;
  const Tensor scratch = empty({need_mask_token ? scratch_rows(chunks) : 0, p.width}, sums, grad);
  p.scratch = scratch.mutable_data_ptr();
#endif
  p.grad = grad.const_data_ptr();
  p.row_stride = grad.stride(0);
  p.dtype = read_dtype(grad.scalar_type());
  p.x = data_if(need_x, x);
  p.mask_token = data_if(need_mask_token, mask_token);
  launch([](const NodeMaskBackward& params, auto where) { return backend::node_mask_backward(params, where); }, p,
         grad);
  return {x, mask_token};
}

static Tensor edge_mask(const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                        const std::optional<Tensor>& ptr, int64_t edges, double probability, int64_t row_offset) {
  check(here(like) && probability >= 0 && probability <= 1, "edge_mask: no such rule");
  Tensor dropped = empty({edges}, ScalarType::Bool, like);
  const EdgeMask p{read_graphs(seed, sample_ids, ptr, edges, row_offset), probability_threshold(probability),
                   dropped.mutable_data_ptr<bool>()};
  launch([](const EdgeMask& params, auto where) { return backend::edge_mask(params, where); }, p, like);
  return dropped;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("node_mask", TORCH_BOX(&node_mask));
  m.impl("node_mask_backward", TORCH_BOX(&node_mask_backward));
  m.impl("edge_mask", TORCH_BOX(&edge_mask));
}

}  // namespace sslfast::ops
