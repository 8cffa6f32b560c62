"""sample_ids, step_seed and collators' draws: what a sample draws depends on its number, not on its place."""

from __future__ import annotations

import pytest
import torch
from oracle import all_equal
from scipy import stats
from torch.utils.data import DataLoader, Dataset

from sslfast import host
from sslfast.masking import mask_patches, mask_tokens, random_patch_mask
from sslfast.masking._draws import CollatorDraws
from sslfast.random import step_seed
from sslfast.reference import patch_mask as reference_patches
from sslfast.reference import token_mask as reference_tokens

TOKENS = {"mask_token_id": 4, "vocab_size": 1000, "mlm_probability": 0.4}
SAMPLES = torch.tensor([5, -3, 2**62, 0, 5])


def test_token_mask_by_sample(device):
    ids = torch.randint(1000, (5, 40))
    expected = reference_tokens.mask_tokens(ids, seed=3, sample_ids=SAMPLES, **TOKENS)
    assert all_equal(mask_tokens(ids.to(device), generator=3, sample_ids=SAMPLES.to(device), **TOKENS), expected)
    arrays = host.mask_tokens(ids.numpy(), seed=3, sample_ids=SAMPLES.numpy(), **TOKENS)
    assert all_equal([torch.from_numpy(a) for a in arrays], expected)


def test_patch_mask_by_sample(device):
    expected = reference_patches.random_patch_mask(5, 49, seed=3, sample_ids=SAMPLES)
    ours = random_patch_mask(5, 49, generator=3, sample_ids=SAMPLES.to(device), device=device)
    assert all_equal(ours, expected)
    arrays = host.random_patch_mask(5, 49, seed=3, sample_ids=SAMPLES.numpy())
    assert all_equal([torch.from_numpy(a) for a in arrays], expected)
    x = torch.randn(5, 49, 3)
    kept, mask, ids_restore = mask_patches(x.to(device), generator=3, sample_ids=SAMPLES.to(device))
    assert all_equal([mask, ids_restore], [expected[2], expected[1]])
    assert torch.equal(kept.cpu(), x.gather(1, expected[0][..., None].expand(-1, -1, 3)))


def test_permuted_and_split_batches_draw_alike():
    ids, samples = torch.randint(1000, (8, 30)), torch.arange(100, 108)
    whole = mask_tokens(ids, generator=1, sample_ids=samples, **TOKENS)[:2]
    order = torch.randperm(8)
    assert all_equal(
        mask_tokens(ids[order], generator=1, sample_ids=samples[order], **TOKENS)[:2], [w[order] for w in whole]
    )
    halves = [mask_tokens(ids[h], generator=1, sample_ids=samples[h], **TOKENS) for h in (slice(4), slice(4, 8))]
    assert all_equal([torch.cat(parts) for parts in list(zip(*halves, strict=True))[:2]], whole)
    assert all_equal(mask_tokens(ids, generator=1, row_offset=100, **TOKENS)[:2], whole)


def test_step_seed(device):
    seeds = [int(step_seed(7, step)) for step in range(500)]
    assert seeds == [host.step_seed(7, step) for step in range(500)]
    assert int(step_seed(torch.tensor(7, device=device), 3)) == seeds[3]
    assert len({*seeds, *(host.step_seed(8, step) for step in range(500))}) == 1000
    bits = torch.tensor(seeds)[:, None] >> torch.arange(64) & 1
    assert stats.binomtest(int(bits.sum()), bits.numel()).pvalue > 1e-4
    assert stats.binomtest(int((bits[1:] ^ bits[:-1]).sum()), bits[1:].numel()).pvalue > 1e-4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sample_ids": [1]}, TypeError, "sample_ids must be an int64 tensor, got list"),
        ({"sample_ids": torch.ones(2)}, TypeError, "sample_ids must be an int64 tensor, got torch.float32"),
        ({"sample_ids": torch.arange(3)}, ValueError, "sample_ids must have shape (2,), one a row, got (3,)"),
        ({"sample_ids": torch.arange(2), "row_offset": 1}, ValueError, "row_offset must be 0 beside sample_ids, got 1"),
    ],
)
def test_bad_sample_ids(arguments, error, message):
    with pytest.raises(error) as raised:
        random_patch_mask(2, 9, **arguments)
    assert str(raised.value) == f"random_patch_mask: {message}"
    on_arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.random_patch_mask(2, 9, seed=1, **on_arrays)
    expected = message.replace("tensor", "array").replace("torch.", "")
    assert str(raised.value) == f"random_patch_mask: {expected}"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: step_seed(1.5, 0), TypeError, "generator must be None, an int, a torch.Generator or an int64 tensor"),
        (lambda: step_seed(1, -1), ValueError, "step must be at least 0, got -1"),
        (lambda: host.step_seed(1, 0.5), TypeError, "step must be an int, got float"),
        (lambda: host.step_seed(2**63, 0), ValueError, f"seed must be in [{-(2**63)}, {2**63 - 1}], got {2**63}"),
    ],
)
def test_bad_steps(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value).startswith(f"step_seed: {message}")


# ---- collators


class Numbers(Dataset):
    def __len__(self) -> int:
        return 24

    def __getitem__(self, i: int) -> dict[str, int]:
        return {"idx": i}


class Collator:
    def __init__(self, **arguments) -> None:
        self.draws = CollatorDraws("Collator", **arguments)

    def __call__(self, examples):
        seed, samples = self.draws.next_call(examples)
        mask = random_patch_mask(len(examples), 64, generator=seed, sample_ids=samples).mask
        return torch.tensor([e["idx"] for e in examples]), mask


def _masks(collator: Collator, **options) -> torch.Tensor:
    """By sample, over one epoch of a loader."""
    batches = list(DataLoader(Numbers(), collate_fn=collator, **options))
    order = torch.cat([idx for idx, _ in batches]).argsort()
    return torch.cat([mask for _, mask in batches])[order]


def test_draws_keyed_by_sample_do_not_depend_on_batches_workers_or_order():
    collator = Collator(seed=3, sample_id_key="idx")
    expected = _masks(collator, batch_size=24)
    assert torch.equal(_masks(collator, batch_size=5, num_workers=2), expected)
    assert torch.equal(_masks(collator, batch_size=7, shuffle=True), expected)
    collator.draws.set_epoch(1)
    assert not torch.equal(_masks(collator, batch_size=24), expected)
    collator.draws.set_epoch(0)
    assert torch.equal(_masks(collator, batch_size=24), expected)


def test_set_epoch_reaches_running_workers():
    collator = Collator(seed=3, sample_id_key="idx")
    loader = DataLoader(Numbers(), batch_size=8, collate_fn=collator, num_workers=1, persistent_workers=True)
    first = torch.cat([mask for _, mask in loader])
    collator.draws.set_epoch(1)
    second = torch.cat([mask for _, mask in loader])
    assert not torch.equal(first, second)
    assert torch.equal(second, _masks(collator, batch_size=24))


def test_running_workers_draw_what_new_ones_would():
    collator = Collator(seed=3, sample_id_key=None)
    loader = DataLoader(Numbers(), batch_size=8, collate_fn=collator, num_workers=1, persistent_workers=True)
    for _ in loader:
        pass
    collator.draws.set_epoch(1)
    later = torch.cat([mask for _, mask in loader])
    resumed = Collator(seed=3, sample_id_key=None)
    resumed.draws.set_epoch(1)
    assert torch.equal(later, _masks(resumed, batch_size=8, num_workers=1))


def test_draws_of_a_seed_repeat_and_differ_by_call():
    runs = [_masks(Collator(seed=3, sample_id_key=None), batch_size=6, num_workers=2) for _ in range(2)]
    assert torch.equal(*runs)
    assert len({tuple(batch.flatten().tolist()) for batch in runs[0].split(6)}) == 4


def test_draws_without_a_seed_follow_torch():
    collator = Collator(seed=None, sample_id_key=None)
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        runs.append(_masks(collator, batch_size=6))
    assert torch.equal(*runs)
    assert not torch.equal(_masks(collator, batch_size=6), runs[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: CollatorDraws("C", 1.5, None), TypeError, "C: seed must be an int, got float"),
        (lambda: CollatorDraws("C", 1, 2), TypeError, "C: sample_id_key must be a str, got int"),
        (lambda: CollatorDraws("C", None, "idx"), ValueError, "C: sample_id_key needs a seed, got None"),
        (lambda: CollatorDraws("C", 1, "i").set_epoch(-1), ValueError, "C: epoch must be at least 0, got -1"),
        (
            lambda: CollatorDraws("C", 1, "i").next_call([[3]]),
            TypeError,
            "C: an example must be a mapping with the sample's id under 'i', got list",
        ),
        (
            lambda: CollatorDraws("C", 1, "i").next_call([{"j": 3}]),
            KeyError,
            "C: an example has no 'i', which sample_id_key names",
        ),
        (
            lambda: CollatorDraws("C", 1, "i").next_call([{"i": 0.5}]),
            TypeError,
            "C: example['i'] must be an int, got float",
        ),
    ],
)
def test_bad_draws(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert raised.value.args == (message,)
