"""Memories of earlier embeddings as a training step calls them, beside plain torch: NNCLR's nearest neighbours, from a
bank that takes the batch in after the search, beside lightly's; and losses with labels against a memory that has taken
the batch in, forward and backward, beside pytorch-metric-learning's.

Floors, N rows and K entries of D numbers: 2 N K D FLOPs for the neighbours, one product; 4 N K D for the losses, that
and the product of its gradient with the entries. The rule: never slower than eager torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks import peers
from benchmarks.bench_contrastive import NEG_MARGIN
from benchmarks.bench_supcon_references import TEMPERATURE, check
from benchmarks.bench_supcon_references import make_inputs as make_references
from benchmarks.harness import Call, Case

Loss = Callable[[Tensor, Tensor], Tensor]
Bank = tuple[Tensor, Tensor]  # entries, and the rows that ask
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]  # rows and labels, entries and labels


def make_bank(device: torch.device, *, rows: int, entries: int, width: int) -> Bank:
    """Unit vectors; a memory of a whole number of batches, as plain torch wants it."""
    return tuple(normalize(torch.randn(n, width), dim=1).to(device) for n in (entries, rows))


def our_neighbours(inputs: Bank) -> Call:
    from sslfast.losses import NNMemoryBank

    return _filled(NNMemoryBank(inputs[0].shape), inputs)


def their_neighbours(inputs: Bank) -> Call:
    return _filled(peers.load("lightly.models.modules").NNMemoryBankModule(inputs[0].shape), inputs)


def _filled(memory: Any, inputs: Bank) -> Call:
    entries, rows = inputs
    memory.bank.copy_(entries)
    return lambda: memory(rows, update=True)


def eager_neighbours(inputs: Bank) -> Call:
    bank, rows, at = inputs[0].clone(), inputs[1], 0

    def neighbours() -> Tensor:
        nonlocal at
        found = bank[(normalize(rows, dim=1) @ normalize(bank, dim=1).T).argmax(dim=1)]
        bank[at : at + len(rows)] = rows
        at = (at + len(rows)) % len(bank)
        return found

    return neighbours


def check_neighbours(inputs: Bank, theirs: Tensor, ours: Tensor) -> None:
    others = int((theirs != ours).any(dim=1).sum())
    assert others == 0, f"{others} of {len(ours)} rows have another neighbour"


class PlainMemory:
    """A ring whose length is a multiple of the batch's, and a loss that is told which entries are the rows' copies."""

    def __init__(self, loss: Callable[..., Tensor], entries: Tensor, labels: Tensor) -> None:
        self.loss, self.entries, self.labels, self.at = loss, entries.clone(), labels.clone(), 0

    def __call__(self, rows: Tensor, labels: Tensor) -> Tensor:
        newest = slice(self.at, self.at + len(rows))
        self.entries[newest], self.labels[newest] = rows.detach(), labels
        self.at = newest.stop % len(self.labels)
        copies = torch.zeros(len(rows), len(self.labels), dtype=torch.bool, device=rows.device)
        copies[:, newest].fill_diagonal_(True)
        return self.loss(rows, labels, self.entries, self.labels, copies)


def eager_supcon(z: Tensor, y: Tensor, r: Tensor, ry: Tensor, copies: Tensor) -> Tensor:
    """Every row has a positive here."""
    logits = normalize(z, dim=1) @ normalize(r, dim=1).T / TEMPERATURE
    same = (y[:, None] == ry) & ~copies
    log_share = logits - logits.masked_fill(copies, float("-inf")).logsumexp(dim=1, keepdim=True)
    return -((log_share * same).sum(dim=1) / same.sum(dim=1)).mean()


def eager_contrastive(z: Tensor, y: Tensor, r: Tensor, ry: Tensor, copies: Tensor) -> Tensor:
    between, same = torch.cdist(normalize(z, dim=1), normalize(r, dim=1)), y[:, None] == ry
    near, far = between * (same & ~copies), (NEG_MARGIN - between).clamp_min(0) * ~same
    return near.sum() / (near > 0).sum().clamp_min(1) + far.sum() / (far > 0).sum().clamp_min(1)


# The loss in plain torch, its class here and in pytorch-metric-learning, and its options.
LOSSES: dict[str, tuple[Callable[..., Tensor], str, dict[str, float]]] = {
    "supcon": (eager_supcon, "SupConLoss", {"temperature": TEMPERATURE}),
    "contrastive": (eager_contrastive, "ContrastiveLoss", {"neg_margin": NEG_MARGIN}),
}


def our_memory(name: str, options: dict[str, float], entries: Tensor, labels: Tensor) -> Loss:
    from sslfast import losses

    memory = losses.CrossBatchMemory(getattr(losses, name)(**options), entries.shape[1], len(entries))
    memory.enqueue(entries, labels)
    return memory


def their_memory(name: str, options: dict[str, float], entries: Tensor, labels: Tensor) -> Loss:
    losses = peers.load("pytorch_metric_learning.losses")
    memory = losses.CrossBatchMemory(getattr(losses, name)(**options), entries.shape[1], len(entries))
    memory.add_to_memory(entries, labels, len(entries))
    return memory


def call(make: Callable[[Tensor, Tensor], Loss], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradient of the rows. A memory of its own goes on from call to call."""
    rows, labels, *remembered = inputs
    memory = make(*remembered)

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = memory(rows, labels)
        return loss.detach(), *torch.autograd.grad(loss, [rows])

    return forward_and_backward


def neighbours(rows: int, entries: int, width: int, **options: Any) -> Case:
    return Case(
        op="nearest_neighbours",
        size=f"{rows}x{entries}x{width}",
        dtype="fp32",
        make_inputs=partial(make_bank, rows=rows, entries=entries, width=width),
        providers={
            "sslfast": our_neighbours,
            "eager torch": eager_neighbours,
            "lightly NNMemoryBankModule": their_neighbours,
        },
        check=check_neighbours,
        work=2 * rows * entries * width,
        unit="FLOP",
        formula="2 N K D",
        devices=("cpu",),
        **options,
    )


def against_memory(op: str, rows: int, entries: int, width: int, **options: Any) -> Case:
    eager, *named = LOSSES[op]
    shape = {"rows": rows, "references": entries, "width": width}
    return Case(
        op=f"cross_batch_memory {op}",
        size=f"{rows}x{entries}x{width}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_references, **shape, dtype=torch.float32),
        providers={
            "sslfast": partial(call, partial(our_memory, *named)),
            "eager torch": partial(call, partial(PlainMemory, eager)),
            "pytorch-metric-learning CrossBatchMemory": partial(call, partial(their_memory, *named)),
        },
        check=check,
        work=4 * rows * entries * width,
        unit="FLOP",
        formula="4 N K D",
        devices=("cpu",),
        **options,
    )


def cases() -> list[Case]:
    return [
        *(neighbours(256, entries, 128, quick=entries == 1024) for entries in (1024, 16384)),
        *(against_memory(op, 256, 1024, 128, quick=True) for op in LOSSES),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
