"""BEiT's loss, forward and backward: the entries of a codebook that masked patches have, beside BEiT's own steps, which
take the masked hidden states out, and logits of every patch.

Floor, M masked patches, hidden size H, V entries: 6 M H V FLOPs, the logits and a product for each gradient.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import bench_linear_cross_entropy as classes
from benchmarks.bench_similarity_softmax import DTYPES
from benchmarks.harness import Case

MASKED = 75  # of 196 patches


class Inputs(NamedTuple):
    hidden: Tensor
    weight: Tensor
    bias: Tensor
    codes: Tensor
    mask: Tensor
    indices: Tensor  # of the masked patches


def make_inputs(device: torch.device, *, rows: int, width: int, entries: int, dtype: torch.dtype) -> Inputs:
    """Tokens of 196 patches and a class token in front."""
    hidden, weight = torch.randn(rows, 197, width), torch.randn(entries, width) / width**0.5
    leaves = [z.to(device, dtype).requires_grad_() for z in (hidden, weight, torch.zeros(entries))]
    codes, mask = torch.randint(0, entries, (rows, 196)), torch.rand(rows, 196).argsort(1) < MASKED
    return Inputs(*leaves, codes.to(device), mask.to(device), mask.flatten().nonzero().flatten().to(device))


def beit(x: Inputs) -> Tensor:
    return F.cross_entropy(F.linear(x.hidden[:, 1:][x.mask], x.weight, x.bias), x.codes[x.mask])


def full_logits(x: Inputs) -> Tensor:
    labels = x.codes.masked_fill(~x.mask, -100)
    return F.cross_entropy(F.linear(x.hidden[:, 1:], x.weight, x.bias).flatten(0, 1), labels.flatten())


def ours(x: Inputs) -> Tensor:
    from sslfast.losses import masked_code_loss

    return masked_code_loss(x.hidden, x.weight, x.codes, x.mask, x.bias, num_prefix_tokens=1)


def ours_from_positions(x: Inputs) -> Tensor:
    from sslfast.losses import masked_code_loss

    return masked_code_loss(x.hidden, x.weight, x.codes, None, x.bias, indices=x.indices, num_prefix_tokens=1)


PROVIDERS = {
    "sslfast": partial(classes.call, ours),
    "eager torch (beit)": partial(classes.call, beit),
    "eager torch (full logits)": partial(classes.call, full_logits),
}
# Which patches are masked is known without a wait on a GPU where positions say it.
GPU_PROVIDERS = PROVIDERS | {
    "sslfast": partial(classes.call, ours_from_positions),
    "sslfast (from the mask)": partial(classes.call, ours),
}


def case(rows: int, width: int, entries: int, dtype: str = "fp32", **options: Any) -> Case:
    return Case(
        op="masked_code",
        size=f"{rows}x196x{width} of {entries}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, rows=rows, width=width, entries=entries, dtype=DTYPES[dtype]),
        providers=options.pop("providers", PROVIDERS),
        check=classes.check,
        work=6 * rows * MASKED * width * entries,
        unit="FLOP",
        formula="6 M H V",
        **options,
    )


def cases() -> list[Case]:
    return [
        case(4, 128, 512, quick=True),
        case(16, 768, 8192, memory=True, devices=("cpu",)),
        case(256, 768, 8192, "bf16", memory=True, devices=("cuda",), providers=GPU_PROVIDERS),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
