"""InfoNCE with the other keys of the batch as negatives, forward and backward, beside one matrix product with torch's
cross entropy; "locked" where the keys take no gradient, as those of a locked tower.

Floor, N queries and keys of D numbers: 6 N^2 D FLOPs, the product and two products of its gradient with queries and
keys; locked 4 N^2 D, one product less. On a GPU also beside cut-cross-entropy and quack-kernels, which know a linear
layer's cross entropy: the keys are its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks import peers
from benchmarks.bench_similarity_softmax import DTYPES, check, needs_bf16_products, registers_and_strips
from benchmarks.gpu_grid import grid
from benchmarks.harness import Call, Case, compiled

TEMPERATURE = 0.1
Inputs = tuple[Tensor, Tensor]


def make_inputs(device: torch.device, *, queries: int, width: int, dtype: torch.dtype, locked: bool) -> Inputs:
    query = torch.randn(queries, width)
    keys = query + 2.0 * torch.randn(queries, width)
    return query.to(device, dtype).requires_grad_(), keys.to(device, dtype).requires_grad_(not locked)


def eager(query: Tensor, keys: Tensor) -> Tensor:
    logits = normalize(query, dim=1) @ normalize(keys, dim=1).T / TEMPERATURE
    return cross_entropy(logits, torch.arange(len(query), device=query.device))


def ours() -> Callable[[Tensor, Tensor], Tensor]:
    from sslfast.losses import info_nce_loss

    return partial(info_nce_loss, temperature=TEMPERATURE)


def one_way(find: Callable[[], Callable[..., Tensor]]) -> Callable[[Tensor, Tensor], Tensor]:
    """A linear layer's cross entropy, with the keys for its weights."""
    linear_cross_entropy = find()

    def loss(query: Tensor, keys: Tensor) -> Tensor:
        labels = torch.arange(len(query), device=query.device)
        return linear_cross_entropy(normalize(query, dim=1) / TEMPERATURE, normalize(keys, dim=1), labels)

    return loss


def cut_cross_entropy() -> Callable[..., Tensor]:
    """Exact: by default it leaves out what is small in a softmax over words, which is most of this gradient."""
    return partial(peers.load("cut_cross_entropy").linear_cross_entropy, filter_eps=None)


def quack() -> Callable[..., Tensor]:
    return peers.load("quack.linear_cross_entropy").chunked_linear_cross_entropy


def call(find: Callable[[], Callable[[Tensor, Tensor], Tensor]], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradients of what takes one."""
    loss_function = find()
    leaves = [z for z in inputs if z.requires_grad]

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(*inputs)
        grads = torch.autograd.grad(loss, leaves)
        return loss.detach(), grads[0], grads[-1]

    return forward_and_backward


def call_in_fp32(inputs: Inputs) -> Call:
    """sslfast on float32 copies: what bf16 inputs gain."""
    needs_bf16_products(inputs[0].device)
    return call(ours, tuple(z.detach().float().requires_grad_(z.requires_grad) for z in inputs))


PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch": partial(call, lambda: eager),
    "torch.compile": partial(call, lambda: compiled(eager)),
}
GPU_PROVIDERS = PROVIDERS | {
    "cut-cross-entropy": partial(call, partial(one_way, cut_cross_entropy)),
    "quack-kernels": partial(call, partial(one_way, quack)),
}
IN_BF16 = PROVIDERS | {"sslfast, fp32 inputs": call_in_fp32}
BOTH_WAYS = registers_and_strips(partial(call, ours))
STORING = ("eager torch", "torch.compile")


def case(
    queries: int, width: int, dtype: str = "fp32", *, op: str = "info_nce", locked: bool = False, **options: Any
) -> Case:
    products = 4 if locked else 6
    options = {"providers": PROVIDERS} | options
    return Case(
        op=f"{op} locked" if locked else op,
        size=f"{queries}x{width}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, queries=queries, width=width, dtype=DTYPES[dtype], locked=locked),
        check=check,
        work=products * queries**2 * width,
        unit="FLOP",
        formula=f"{products} N^2 D",
        **options,
    )


def cases() -> list[Case]:
    return [
        case(256, 128, quick=True),
        case(4096, 128, memory=True),
        case(4096, 512),
        case(4096, 512, "bf16", providers=IN_BF16, devices=("cpu",)),
        case(4096, 128, locked=True),
        *grid(case, GPU_PROVIDERS, storing=STORING, slow=("cut-cross-entropy",)),
        *(
            case(
                *(queries, width, "bf16"),
                op="info_nce both ways",
                locked=locked,
                providers=BOTH_WAYS,
                devices=("cuda",),
            )
            for queries, width in ((4096, 512), (16384, 256), (16384, 512))
            for locked in (False, True)
        ),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
