"""Every masking rule, callable alike, for the contracts that all of them keep (test_mask_rules.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslfast import host
from sslfast.masking import corrupt_features, mask_tokens, random_patch_mask, sample_negatives, spec_augment, time_mask

Result = tuple[Tensor, ...]


class Rule(NamedTuple):
    """One rule at one size.

    Attributes:
        name: what the test is called.
        inputs: the numbers of the rows -> what the rule reads, on the CPU; may depend on these numbers alone.
        torch: (inputs on the device, number of rows, device, keywords ``generator`` and ``sample_ids`` or
            ``row_offset``) -> tensors whose first dimension is the row.
        numpy: the same over arrays, without a device and with ``seed`` instead of ``generator``, or None where there is
            no such face.
    """

    name: str
    inputs: Callable[[Tensor], tuple[Tensor, ...]]
    torch: Callable[..., Result]
    numpy: Callable[..., tuple[Any, ...]] | None


def nothing(numbers: Tensor) -> tuple[Tensor, ...]:
    return ()


def ids(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 60): token ids."""
    return ((numbers[:, None] * 31 + torch.arange(60) * 7) % 1000,)


def frames(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N,): lengths of rows of 200 frames."""
    return (50 + numbers * 37 % 151,)


def frame_mask(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 40): masked frames, none of some rows."""
    return ((numbers[:, None] * 13 + torch.arange(40) * 7) % 11 < numbers[:, None] % 5,)


def spectrograms(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 2, 20, 50)."""
    return ((numbers[:, None, None, None] + torch.arange(2000).view(2, 20, 50)) / 7,)


def table(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 30): features."""
    return ((numbers[:, None] * 31 + torch.arange(30) * 7) % 101 / 7,)


BANK = torch.arange(600).view(20, 30) / 3


def own_frames(negatives: Any) -> Any:
    """Positions count from the first row of the batch; frames do not."""
    return negatives % 40


BANDS = {"n_freq_masks": 2, "freq_mask_param": 9, "n_time_masks": 2, "time_mask_param": 20}
TOKENS = {"mask_token_id": 4, "vocab_size": 1000, "mlm_probability": 0.3}

RULES = [
    Rule(
        "mask_tokens",
        ids,
        lambda inputs, rows, device, **draws: mask_tokens(*inputs, **TOKENS, **draws)[:2],
        lambda inputs, rows, **draws: host.mask_tokens(*inputs, **TOKENS, **draws)[:2],
    ),
    Rule(
        "random_patch_mask",
        nothing,
        lambda inputs, rows, device, **draws: random_patch_mask(rows, 49, device=device, **draws),
        lambda inputs, rows, **draws: host.random_patch_mask(rows, 49, **draws),
    ),
    *(
        Rule(
            f"time_mask {mode}",
            frames,
            lambda inputs, rows, device, mode=mode, **draws: (
                time_mask(rows, 200, lengths=inputs[0], mode=mode, device=device, **draws),
            ),
            lambda inputs, rows, mode=mode, **draws: (
                host.time_mask(rows, 200, lengths=inputs[0], mode=mode, **draws),
            ),
        )
        for mode in ("exact", "hf", "fairseq")
    ),
    Rule(
        "spec_augment",
        spectrograms,
        lambda inputs, rows, device, **draws: (spec_augment(*inputs, **BANDS, **draws),),
        lambda inputs, rows, **draws: (host.spec_augment(*inputs, **BANDS, **draws),),
    ),
    *(
        Rule(
            f"corrupt_features {source}",
            table,
            lambda inputs, rows, device, source=source, **draws: corrupt_features(
                *inputs, source=source, bank=BANK.to(device), **draws
            ),
            lambda inputs, rows, source=source, **draws: host.corrupt_features(
                *inputs, source=source, bank=BANK.numpy(), **draws
            ),
        )
        for source in ("marginals", "rows", "uniform")
    ),
    Rule(
        "sample_negatives",
        frame_mask,
        lambda inputs, rows, device, **draws: (own_frames(sample_negatives(*inputs, 5, **draws)),),
        lambda inputs, rows, **draws: (own_frames(host.sample_negatives(*inputs, 5, **draws)),),
    ),
]
