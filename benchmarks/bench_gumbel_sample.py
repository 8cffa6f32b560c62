"""Sampling replacements from logits beside torch, by Gumbel noise and by multinomial.

Floor: each logit read once. ELECTRA's code makes a noise tensor and a softmax, as eager torch does here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Call, Case, compiled


def make_inputs(device: torch.device, *, rows: int, vocabulary: int, dtype: torch.dtype) -> Tensor:
    return (2 * torch.randn(rows, vocabulary)).to(device, dtype)


def ours(logits: Tensor) -> Call:
    from sslfast.masking import sample_replacements

    return lambda: sample_replacements(logits)


def formulation(logits: Tensor) -> Tensor:
    """The largest of logits and Gumbel noise, with ELECTRA's guards against log(0)."""
    noise = torch.rand(logits.shape, device=logits.device)
    return (logits.float() - torch.log(1e-9 - torch.log(noise + 1e-9))).argmax(1)


def eager(logits: Tensor) -> Call:
    return partial(formulation, logits)


def compile_of_eager(logits: Tensor) -> Call:
    return partial(compiled(formulation), logits)


def multinomial(logits: Tensor) -> Call:
    return lambda: torch.softmax(logits.float(), 1).multinomial(1)[:, 0]


def check(logits: Tensor, theirs: Tensor, ours: Tensor) -> None:
    """Ids of the vocabulary, and as likely under the softmax as its own samples are on average."""
    log_p = torch.log_softmax(logits.float(), 1)
    entropy = -(log_p.exp() * log_p).sum(1)
    for ids in (theirs, ours):
        assert int(ids.min()) >= 0, "a row has no sample"
        difference = -log_p.gather(1, ids[:, None])[:, 0] - entropy
        deviation = float(difference.std()) / len(ids) ** 0.5
        assert abs(float(difference.mean())) < 6 * deviation + 1e-3, "not the softmax"


def case(rows: int, vocabulary: int, dtype: torch.dtype, name: str, **options: Any) -> Case:
    size = torch.empty((), dtype=dtype).element_size()
    return Case(
        op="gumbel_sample",
        size=f"{rows}x{vocabulary}",
        dtype=name,
        make_inputs=partial(make_inputs, rows=rows, vocabulary=vocabulary, dtype=dtype),
        providers={
            "sslfast": ours,
            "eager torch": eager,
            "torch.compile": compile_of_eager,
            "torch multinomial": multinomial,
        },
        check=check,
        work=size * rows * vocabulary,
        unit="B",
        formula=f"{size} B a logit read",
        **options,
    )


def cases() -> list[Case]:
    return [
        case(1024, 30522, torch.float32, "fp32", memory=True),
        case(1024, 30522, torch.bfloat16, "bf16", one_thread_only=True),
        case(16, 1000, torch.float32, "fp32", quick=True, one_thread_only=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
