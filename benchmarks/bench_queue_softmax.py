"""InfoNCE against a queue, MoCo's loss, forward and backward, beside lightly's memory bank and eager torch.

Floor, N queries against K entries of D numbers: 4 N K D FLOPs, the logits and the queue's mean under their softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks import peers
from benchmarks.bench_similarity_softmax import DTYPES, check, needs_bf16_products
from benchmarks.harness import Call, Case, compiled

TEMPERATURE = 0.2
Inputs = tuple[Tensor, Tensor, Tensor]


def make_inputs(device: torch.device, *, queries: int, length: int, width: int, dtype: torch.dtype) -> Inputs:
    query = torch.randn(queries, width)
    key = query + 0.5 * torch.randn(queries, width)
    queue = normalize(torch.randn(length, width), dim=1)
    # The key comes from the momentum encoder: no gradient. The bank is in the dtype of the embeddings: MemoryBank.to().
    return query.to(device, dtype).requires_grad_(), key.to(device, dtype), queue.to(device, dtype)


def eager(query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
    query, key = normalize(query, dim=1), normalize(key, dim=1)
    positives = (query * key).sum(dim=1, keepdim=True)
    logits = torch.cat([positives, query @ queue.T], dim=1) / TEMPERATURE
    return cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def ours(queue: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    from sslfast.losses import info_nce_loss

    return partial(info_nce_loss, queue=queue, temperature=TEMPERATURE)


def lightly(queue: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    criterion = peers.load("lightly.loss").NTXentLoss(TEMPERATURE, memory_bank_size=tuple(queue.shape))
    criterion.memory_bank.bank = queue.clone()  # it enqueues, ours must not see that
    return criterion


def call(find: Callable[[Tensor], Callable[[Tensor, Tensor], Tensor]], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradient of the queries."""
    query, key, queue = inputs
    loss_function = find(queue)

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(query, key)
        return loss.detach(), *torch.autograd.grad(loss, query)

    return forward_and_backward


def check_query(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss and the same gradient."""
    check(inputs[:1], (*theirs, theirs[1]), (*ours, ours[1]))


def call_in_fp32(inputs: Inputs) -> Call:
    """sslfast on float32 copies: what bf16 inputs gain."""
    needs_bf16_products(inputs[0].device)
    query, key, queue = inputs
    return call(ours, (query.detach().float().requires_grad_(), key.float(), queue.float()))


PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch": partial(call, lambda queue: partial(eager, queue=queue)),
    "torch.compile": partial(call, lambda queue: partial(compiled(eager), queue=queue)),
    "lightly NTXentLoss": partial(call, lightly),
}


def case(queries: int, length: int, width: int, dtype: str = "fp32", **options: Any) -> Case:
    return Case(
        op="info_nce queue",
        size=f"{queries}x{length}x{width}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, queries=queries, length=length, width=width, dtype=DTYPES[dtype]),
        providers=PROVIDERS if dtype == "fp32" else PROVIDERS | {"sslfast, fp32 inputs": call_in_fp32},
        check=check_query,
        work=4 * queries * length * width,
        unit="FLOP",
        formula="4 N K D",
        **options,
    )


def cases() -> list[Case]:
    return [
        case(64, 4096, 128, quick=True),
        case(1024, 65536, 128, memory=True),
        case(4096, 4096, 512, "bf16", devices=("cpu",)),
        case(4096, 65536, 128, "bf16", devices=("cuda",), memory=True),
        *(
            case(queries, length, width, "bf16", devices=("cuda",))
            for queries, length, width in ((256, 65536, 128), (4096, 65536, 512), (4096, 2**20, 128))
        ),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
