"""Cross-entropy against a vocabulary shared out over ranks, forward and backward, in a group of one: what its way costs
beside the loss that knows all classes, and beside full logits. Inputs and floor are those of linear_cross_entropy, all
rows with a target; it makes the logits again in backward, 8 M H V FLOPs, as a rank does not know the others' sums.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch.distributed as dist
from torch import Tensor

from benchmarks import bench_linear_cross_entropy as classes
from benchmarks.harness import Case


def ours(x: classes.Inputs) -> Tensor:
    from sslfast.losses import vocab_parallel_cross_entropy

    if not dist.is_initialized():  # without a group it is linear_cross_entropy
        backend = "nccl" if x.hidden.is_cuda else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    return vocab_parallel_cross_entropy(x.hidden, x.weight, x.labels, linear_bias=x.bias)


def every_class(x: classes.Inputs) -> Tensor:
    from sslfast.losses import linear_cross_entropy

    return linear_cross_entropy(x.hidden, x.weight, x.labels, linear_bias=x.bias)


PROVIDERS = {
    "sslfast": partial(classes.call, ours),
    "sslfast linear_cross_entropy": partial(classes.call, every_class),
    "eager torch (full logits)": partial(classes.call, classes.full_logits),
}


def cases() -> list[Case]:
    found = [
        classes.case(8, 64, 128, 5000, share=1.0, providers=PROVIDERS, quick=True),
        classes.case(8, 128, 256, 30522, share=1.0, providers=PROVIDERS, devices=("cpu",), memory=True),
    ]
    return [replace(case, op="vocab_parallel") for case in found]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
