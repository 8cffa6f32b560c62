"""The collator of wav2vec 2.0 and HuBERT, from waveforms to padded batches with masks, beside transformers'.

``DataCollatorForWav2Vec2Pretraining`` is in transformers' examples and not in its package: written anew here, it calls
what the package has of it, the feature extractor's ``pad`` and the functions that draw spans and negatives. HuBERT's is
the same without negatives.

Floor: 4 bytes read and 12 written a sample. Waveforms of unequal length become frames of 20 ms; half of them are masked
and have 100 negatives each.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case

KERNEL, STRIDE = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
PROBABILITY, LENGTH, NEGATIVES = 0.65, 10, 100
KEYS = ("input_values", "attention_mask", "mask_time_indices")

Examples = list[dict[str, Any]]


def frames(samples: Tensor) -> Tensor:
    for kernel, stride in zip(KERNEL, STRIDE, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def make_inputs(device: torch.device, *, rows: int, samples: int) -> Examples:
    lengths = torch.randint(samples * 3 // 4, samples + 1, (rows,))
    lengths[0] = samples
    return [{"input_values": torch.randn(int(n)).numpy()} for n in lengths]


def ours(examples: Examples, negatives: int | None) -> Call:
    from sslfast.masking import SpeechCollator

    options: dict[str, Any] = {"mask_prob": PROBABILITY, "mask_length": LENGTH, "min_masks": 0, "mode": "hf"}
    collator = SpeechCollator(conv_kernel=KERNEL, conv_stride=STRIDE, num_negatives=negatives, **options)

    def call() -> list[Tensor]:
        batch = collator(examples)
        return [batch[key] for key in (*KEYS, *["sampled_negative_indices"] * (negatives is not None))]

    return call


def published(examples: Examples, negatives: int | None) -> Call:
    module = peers.load("transformers.models.wav2vec2.modeling_wav2vec2")
    extractor = peers.load("transformers").Wav2Vec2FeatureExtractor(return_attention_mask=True)

    def call() -> list[Tensor]:
        batch = extractor.pad(examples, padding="longest", return_tensors="pt")
        rows, samples = batch["input_values"].shape
        shape = (rows, int(frames(torch.tensor(samples))))
        last = frames(batch["attention_mask"].sum(1)) - 1
        attended = torch.zeros(shape, dtype=torch.long)
        attended[torch.arange(rows), last] = 1
        attended = attended.flip([-1]).cumsum(-1).flip([-1]).bool()
        mask = module._compute_mask_indices(shape, PROBABILITY, LENGTH, attention_mask=attended)
        out = [batch["input_values"], batch["attention_mask"], torch.tensor(mask, dtype=torch.long)]
        if negatives is not None:
            out.append(torch.tensor(module._sample_negative_indices(shape, negatives, mask_time_indices=mask)))
        return out

    return call


def check(examples: Examples, theirs: list[Tensor], ours: list[Tensor]) -> None:
    """The same padding; as many frames are masked, none in the padding; negatives are masked frames of the row."""
    assert torch.equal(theirs[0], ours[0]), "input_values differ"
    assert torch.equal(theirs[1].long(), ours[1]), "attention_mask differs"
    lengths = frames(ours[1].sum(1))
    inside = torch.arange(ours[2].shape[1]) < lengths[:, None]
    for out in (theirs, ours):
        mask = out[2].bool()
        assert mask.shape == inside.shape, f"shape {tuple(mask.shape)}"
        assert not (mask & ~inside).any(), "padding is masked"
        share = float(mask.sum() / inside.sum())
        assert abs(share - 0.46) < 0.1 + 2 / len(mask) ** 2, f"{share:.3f} of the frames are masked"
        if len(out) > 3:
            assert bool(mask.flatten()[out[3][mask]].all()), "a negative is not masked"
            assert bool((out[3][mask] // mask.shape[1] == mask.nonzero()[:, :1]).all()), "a negative of another row"


def case(op: str, rows: int, seconds: int, negatives: int | None, **options: Any) -> Case:
    return Case(
        op=op,
        size=f"{rows} of {seconds} s",
        dtype="fp32",
        make_inputs=partial(make_inputs, rows=rows, samples=16_000 * seconds),
        check=check,
        work=16 * rows * 16_000 * seconds,
        unit="B",
        formula="(4 read + 12 written) B a sample",
        devices=("cpu",),
        providers={
            "sslfast": partial(ours, negatives=negatives),
            "transformers collator of its examples": partial(published, negatives=negatives),
        },
        **options,
    )


def cases() -> list[Case]:
    return [
        case("speech_collator wav2vec 2.0", 16, 10, NEGATIVES),
        case("speech_collator wav2vec 2.0", 2, 1, NEGATIVES, quick=True, one_thread_only=True),
        case("speech_collator HuBERT", 16, 10, None),
        case("speech_collator HuBERT", 2, 1, None, quick=True, one_thread_only=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
