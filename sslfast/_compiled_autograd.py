"""What autograd has to do within a graph of torch.compile; imported while one is made, as it imports the compiler.

Dynamo breaks a graph at ``torch.autograd.grad`` and where a tensor is made a leaf, and it traces the backward of an
``autograd.Function`` as if no graph could be wanted of it. What is allowed in a graph it calls without a look inside:
the backend "eager" then runs it as it stands, and AOTAutograd traces what autograd makes of it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from sslfast._first_order import linked


@torch.compiler.allow_in_graph
def leaf_of(x: Tensor) -> Tensor:
    """``x``, whose memory it shares, with a graph that begins here."""
    return x.detach().requires_grad_()


@torch.compiler.allow_in_graph
def gradients(
    function: str, outputs: Tensor, inputs: list[Tensor], grad_outputs: Tensor, create_graph: bool
) -> tuple[Tensor | None, ...]:
    """``torch.autograd.grad`` that keeps the graph, None for inputs that are not used.

    Raises:
        RuntimeError: if a graph is to be made of a gradient that dynamo would leave out of it.
    """
    if create_graph and _once_only(outputs, inputs):
        expected = (
            "must not differentiate a torch.autograd.Function twice, which torch.compile traces for one derivative"
        )
        raise RuntimeError(f"{function}: a compiled graph {expected}")
    return torch.autograd.grad(
        outputs, inputs, grad_outputs, create_graph=create_graph, retain_graph=True, allow_unused=True
    )


@torch.compiler.allow_in_graph
def linked_if_kept(function: str, grad: Tensor, *inputs: Tensor) -> Tensor:
    """``linked`` where the running backward pass keeps its graph, as one does of which a graph is wanted.

    Grad mode, which would say it, is off in a backward pass that dynamo has traced. A pass that keeps its graph for
    another reason gives a gradient that says of itself that it requires one.
    """
    runs = torch._C._current_graph_task_id() != -1
    if not runs or not torch._C._autograd._get_current_graph_task_keep_graph():
        return grad
    with torch.enable_grad():
        return linked(function, grad, *inputs)


def _once_only(outputs: Tensor, inputs: list[Tensor]) -> bool:
    """Whether there is an ``autograd.Function`` that dynamo has traced between them."""
    users: dict[Node, list[Node]] = {}
    waiting = [get_gradient_edge(outputs).node]
    while waiting:
        node = waiting.pop()
        for used, _ in node.next_functions:
            if used is None:
                continue
            if used not in users:
                waiting.append(used)
            users.setdefault(used, []).append(node)
    seen: set[Node] = set()
    waiting = [get_gradient_edge(x).node for x in inputs]
    while waiting:
        for node in users.get(waiting.pop(), []):
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    return any(type(node).__name__ == "ApplyTemplateBackward" for node in seen)
