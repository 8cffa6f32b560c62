"""HuBERT's loss, forward and backward, beside fairseq's formulation, which lays the embeddings of the clusters out for
every frame, and beside a product of unit vectors in plain torch.

Floor, S masked frames, C clusters, width D: 6 S C D FLOPs, a product for the logits and one for each gradient.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.bench_sampled_softmax import call, check
from benchmarks.bench_similarity_softmax import DTYPES
from benchmarks.harness import Case, compiled

TEMPERATURE = 0.1


class Inputs(NamedTuple):
    hidden: Tensor
    embs: Tensor
    targets: Tensor
    mask: Tensor
    indices: Tensor  # of the masked frames


def make_inputs(
    device: torch.device, *, batch: int, length: int, width: int, clusters: int, dtype: torch.dtype
) -> Inputs:
    from sslfast.masking import time_mask

    leaves = [torch.randn(batch, length, width), torch.rand(clusters, width)]
    hidden, embs = (z.to(device, dtype).requires_grad_() for z in leaves)
    targets = torch.randint(0, clusters, (batch, length)).to(device)
    mask = time_mask(batch, length, generator=0, device=device)
    return Inputs(hidden, embs, targets, mask, mask.flatten().nonzero().flatten())


def ours(x: Inputs) -> Tensor:
    from sslfast.losses import hubert_loss

    return hubert_loss(x.hidden, x.embs, x.targets, indices=x.indices)


def ours_from_the_mask(x: Inputs) -> Tensor:
    from sslfast.losses import hubert_loss

    return hubert_loss(x.hidden, x.embs, x.targets, x.mask)


def fairseq(x: Inputs) -> Tensor:
    """What its model and criterion compute."""
    frames, own = x.hidden[x.mask], torch.index_select(x.embs, 0, x.targets[x.mask])
    every = x.embs.unsqueeze(1).expand(-1, frames.size(0), -1)
    same = (own == every).all(-1)
    rows = torch.cat([own.unsqueeze(0), every], dim=0)
    logits = torch.cosine_similarity(frames.float(), rows.float(), dim=-1).type_as(frames) / TEMPERATURE
    if same.any():
        logits[1:][same] = float("-inf")
    logits = logits.transpose(0, 1).float()
    return F.cross_entropy(logits, logits.new_zeros(logits.size(0), dtype=torch.long), reduction="sum")


def product(x: Inputs) -> Tensor:
    frames = F.normalize(x.hidden.flatten(0, 1)[x.indices].float(), dim=1)
    logits = frames @ F.normalize(x.embs.float(), dim=1).T / TEMPERATURE
    return F.cross_entropy(logits, x.targets.flatten()[x.indices], reduction="sum")


PROVIDERS = {
    "sslfast": partial(call, ours),
    "sslfast (from the mask)": partial(call, ours_from_the_mask),
    "eager torch (fairseq's formulation)": partial(call, fairseq),
    "eager torch (product)": partial(call, product),
}
GPU_PROVIDERS = PROVIDERS | {"torch.compile": lambda inputs: call(compiled(product), inputs)}


def case(batch: int, length: int, width: int, clusters: int, dtype: str = "fp32", **options: Any) -> Case:
    shape = {"batch": batch, "length": length, "width": width, "clusters": clusters}
    return Case(
        op="hubert",
        size=f"{batch}x{length}x{width} of {clusters}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, **shape, dtype=DTYPES[dtype]),
        providers=options.pop("providers", PROVIDERS),
        check=check,
        work=6 * 0.49 * batch * length * clusters * width,
        unit="FLOP",
        formula="6 S C D, S of 49 % masked",
        **options,
    )


def cases() -> list[Case]:
    return [
        case(2, 100, 64, 100, quick=True),
        case(2, 500, 256, 504, memory=True, devices=("cpu",)),
        case(2, 500, 256, 504, "bf16", devices=("cpu",)),
        case(8, 1500, 256, 504, "bf16", memory=True, devices=("cuda",), providers=GPU_PROVIDERS),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
