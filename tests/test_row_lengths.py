"""Lengths of rows outside of the rows: one line on the CPU and over arrays, the nearest that fits on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from oracle import all_equal
from torch import Tensor

from sslfast import host
from sslfast.augment import (
    AudioAugment,
    SwapTokens,
    apply_audio_params,
    augment_tokens,
    resample,
    sample_audio_params,
    sample_frames,
)
from sslfast.masking import corrupt_spans, mask_words, spec_augment, time_mask

LONGEST = 30  # of three rows
IDS = torch.arange(3 * LONGEST).view(3, LONGEST) % 90 + 5
WAVES = torch.arange(3.0 * LONGEST).view(3, LONGEST)
SPECS = {"n_freq_masks": 1, "freq_mask_param": 3, "n_time_masks": 2, "time_mask_param": 9}
WORDS = {"mask_token_id": 1, "vocab_size": 100, "mode": "compat"}
PARAMS = torch.zeros(3, 13, dtype=torch.float64)


class Case(NamedTuple):
    """A rule over three rows of LONGEST, in torch's face and in NumPy's, where it has one."""

    function: str
    torch: Callable[[Tensor], Any]
    numpy: Callable[[np.ndarray], Any] | None


def time_masks(**options: Any) -> Case:
    return Case(
        "time_mask",
        lambda n: time_mask(3, LONGEST, mask_length=4, lengths=n, generator=1, **options),
        lambda n: host.time_mask(3, LONGEST, mask_length=4, lengths=n, seed=1, **options),
    )


def spans(mode: str) -> Case:
    return Case(
        "corrupt_spans",
        lambda n: corrupt_spans(IDS.to(n.device), sentinel_id=999, lengths=n, mode=mode, generator=1),
        lambda n: host.corrupt_spans(IDS.numpy(), sentinel_id=999, lengths=n, mode=mode, seed=1),
    )


def spectrograms(mode: str) -> Case:
    shape = (3, 8, LONGEST)
    return Case(
        "spec_augment",
        lambda n: spec_augment(torch.ones(shape, device=n.device), **SPECS, lengths=n, mode=mode, generator=1),
        lambda n: host.spec_augment(np.ones(shape, np.float32), **SPECS, lengths=n, mode=mode, seed=1),
    )


CASES = {
    "time_mask exact": time_masks(),
    "time_mask hf": time_masks(mode="hf"),
    "time_mask fairseq": time_masks(mode="fairseq", require_same_masks=True),
    "time_mask apart": time_masks(mode="fairseq", mask_type="poisson", no_overlap=True),
    "corrupt_spans exact": spans("exact"),
    "corrupt_spans compat": spans("compat"),
    "spec_augment exact": spectrograms("exact"),
    "spec_augment compat": spectrograms("compat"),
    "mask_words": Case(
        "mask_words",
        lambda n: mask_words(IDS.to(n.device), word_ids=(IDS // 2).to(n.device), **WORDS, lengths=n, generator=1),
        lambda n: host.mask_words(IDS.numpy(), word_ids=IDS.numpy() // 2, **WORDS, lengths=n, seed=1),
    ),
    "augment_tokens": Case(
        "augment_tokens",
        lambda n: augment_tokens(IDS.to(n.device), SwapTokens(0.5), lengths=n, generator=1),
        lambda n: host.augment_tokens(IDS.numpy(), SwapTokens(0.5), lengths=n, seed=1),
    ),
    "sample_frames": Case(
        "sample_frames",
        lambda n: sample_frames(3, LONGEST, 4, lengths=n, generator=1),
        lambda n: host.sample_frames(3, LONGEST, 4, lengths=n, seed=1),
    ),
    "sample_audio_params": Case(
        "sample_audio_params",
        lambda n: sample_audio_params(3, LONGEST, shift=(-1, 1), lengths=n, generator=1),
        lambda n: host.sample_audio_params(3, LONGEST, shift=(-1, 1), lengths=n, seed=1),
    ),
    "apply_audio_params": Case(
        "apply_audio_params",
        lambda n: apply_audio_params(WAVES.to(n.device), PARAMS.to(n.device), lengths=n),
        lambda n: host.apply_audio_params(WAVES.numpy(), PARAMS.numpy(), lengths=n),
    ),
    "AudioAugment": Case(
        "AudioAugment",
        lambda n: AudioAugment(shift=(-1, 1))(WAVES.to(n.device), lengths=n, generator=1),
        None,
    ),
    "resample": Case("resample", lambda n: resample(WAVES.to(n.device), 2, 1, lengths=n), None),
}


def results(made: Any) -> list[Tensor]:
    return [made] if isinstance(made, Tensor) else [t for t in made if isinstance(t, Tensor)]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("wrong", [LONGEST + 1, -1, 2**40, -(2**40)])
def test_lengths_out_of_range(device, case, wrong):
    lengths = torch.tensor([LONGEST, wrong, 17], device=device)
    message = f"{case.function}: lengths must be in [0, {LONGEST}], got {wrong}"
    if device.type != "cpu":
        if case.function == "resample":
            pytest.importorskip("torchaudio", reason="torchaudio is optional, and not installed")
        assert all_equal(results(case.torch(lengths)), results(case.torch(lengths.clamp(0, LONGEST))))
        return
    with pytest.raises(ValueError, match="lengths") as raised:
        case.torch(lengths)
    assert str(raised.value) == message
    if case.numpy is not None:
        with pytest.raises(ValueError, match="lengths") as raised:
            case.numpy(lengths.numpy())
        assert str(raised.value) == message


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.function != "resample"], ids=lambda c: c.function)
def test_lengths_of_the_ends_are_in_range(device, case):
    lengths = torch.tensor([LONGEST, 0, 17])
    ours = results(case.torch(lengths.to(device)))
    if case.numpy is not None and device.type == "cpu":
        made = case.numpy(lengths.numpy())
        arrays = [made] if isinstance(made, np.ndarray) else [a for a in made if isinstance(a, np.ndarray)]
        assert all_equal(ours, [torch.from_numpy(a) for a in arrays])


@pytest.mark.parametrize("name", ["time_mask exact", "time_mask apart", "corrupt_spans exact", "sample_frames"])
def test_compiled_lengths_are_not_looked_at(name):
    """torch.compile cannot branch on them: what is outside counts as the nearest that is inside."""
    rule, lengths = CASES[name].torch, torch.tensor([LONGEST + 3, -1, 17])
    compiled = torch.compile(rule, fullgraph=True, backend="eager")
    assert all_equal(results(compiled(lengths)), results(rule(lengths.clamp(0, LONGEST))))
