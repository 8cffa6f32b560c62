"""CUDA graphs: a captured call draws anew from a seed that lives on the device, and losses replay on new inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from contrastive_calls import CALLS
from cuda_graph import captured
from torch import Tensor

from benchmarks import gpu_calls
from sslfast.augment import (
    AudioAugment,
    Compose,
    DINOAugment,
    MAEAugment,
    MultiView,
    RandAugment,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomErasing,
    RandomMix,
    SimCLRAugment,
    ToDtype,
    sample_frames,
    take_frames,
)
from sslfast.losses import masked_patch_loss
from sslfast.masking import (
    apply_mask_token,
    corrupt_features,
    drop_edges,
    mask_nodes,
    mask_patches,
    mask_tokens,
    mask_words,
    random_patch_mask,
    sample_negatives,
    time_mask,
    unshuffle_patches,
)

pytestmark = pytest.mark.gpu


def tokens(seed: Any, device: str) -> tuple[Tensor, ...]:
    ids = torch.arange(8 * 300, device=device).view(8, 300) % 1000
    return mask_tokens(ids, mask_token_id=1, vocab_size=1000, generator=seed)


def words(seed: Any, device: str) -> tuple[Tensor, ...]:
    ids = torch.arange(8 * 2100, device=device).view(8, 2100) % 1000
    options = {"mask_token_id": 1, "vocab_size": 1000, "generator": seed, "replace": "word", "min_masked": 1}
    return mask_words(ids, word_ids=ids // 7 - 1, **options)


def spans(seed: Any, device: str) -> tuple[Tensor, ...]:
    lengths = torch.tensor([300, 120, 7, 0], device=device)
    options = {"lengths": lengths, "mode": "fairseq", "require_same_masks": True, "mask_dropout": 0.1}
    masks = [time_mask(4, 300, generator=seed, device=device)]
    for law in ({"mask_type": "normal", "mask_other": 3.0}, {"mask_type": "poisson", "no_overlap": True}):
        masks.append(time_mask(4, 300, generator=seed, **options, **law))
    return (*masks, sample_negatives(masks[0], 5, generator=seed))


def patches(seed: Any, device: str) -> tuple[Tensor, ...]:
    x = torch.arange(4 * 196 * 8, device=device, dtype=torch.float32).view(4, 196, 8)
    kept, mask, ids_restore = mask_patches(x, generator=seed)
    token = torch.ones(8, device=device)
    decoded = unshuffle_patches(kept, token, ids_restore), apply_mask_token(x, mask, token)
    return (kept, mask, ids_restore, *decoded, *random_patch_mask(3, 50, generator=seed, device=device))


def tables(seed: Any, device: str) -> tuple[Tensor, ...]:
    x = (torch.arange(300 * 7, device=device, dtype=torch.float32) % 101).view(300, 7)
    drawn = [corrupt_features(x, source=source, generator=seed) for source in ("marginals", "uniform", "permutation")]
    ptr, edges = torch.arange(4, device=device) * 100, torch.zeros(2, 90, dtype=torch.int64, device=device)
    nodes = mask_nodes(x, 0.5, replace_rate=0.4, ptr=ptr, generator=seed)
    return (*(t for pair in drawn for t in pair), *nodes, drop_edges(edges, generator=seed))


def views(seed: Any, device: str) -> tuple[Tensor, ...]:
    images = (torch.arange(2 * 3 * 40 * 40, device=device) % 251).to(torch.uint8).view(2, 3, 40, 40)
    in_passes = Compose([RandomAutocontrast(1.0), RandomAdjustSharpness(2.0, 1.0), ToDtype()])
    return (*SimCLRAugment(32)(images, generator=seed), in_passes(images, generator=seed))


def batches(seed: Any, device: str) -> tuple[Tensor, ...]:
    images = (torch.arange(6 * 3 * 20 * 24, device=device) % 251).view(6, 3, 20, 24) / 250
    mix = RandomMix(0.4, 1.0, mode="elem", num_classes=9, partner="permutation")
    mixed, targets, params = mix(images, torch.arange(6, device=device), generator=seed, return_params=True)
    return (mixed, targets, params, *RandomErasing(value="random")(images, generator=seed, return_params=True))


def sounds(seed: Any, device: str) -> tuple[Tensor, ...]:
    waves = (torch.arange(4 * 3000, device=device) * 37 % 101).float().view(4, 3000) - 50
    rules = {"shift": (-0.5, 0.5), "gain_db": (-6, 6), "noise_snr_db": (3, 30), "mix_snr_db": (-5, 5)}
    out = AudioAugment(**rules)(waves, generator=seed, lengths=torch.full((4,), 2500, device=device))
    frames = sample_frames(4, 30, 8, stride=2, generator=seed, device=device)
    return out / 50, frames, take_frames(waves.view(4, 30, 100), frames)


@pytest.mark.parametrize("call", [tokens, words, spans, patches, tables, views, batches, sounds])
def test_replays_draw_from_the_seed_on_the_device(call: Callable[[Any, str], tuple[Tensor, ...]]) -> None:
    seed = torch.tensor([1], device="cuda")
    graph, results = captured(lambda: call(seed, "cuda"))
    for value in (1, 2):
        seed.fill_(value)
        graph.replay()
        for ours, expected in zip(results, call(value, "cpu"), strict=True):
            exact = not ours.is_floating_point() or call not in (views, sounds)
            torch.testing.assert_close(ours.cpu(), expected, rtol=0, atol=0 if exact else 1e-5)


@pytest.mark.parametrize(
    ("recipe", "launches"), [(SimCLRAugment(40), 3), (MAEAugment(40), 2), (DINOAugment(40, local_size=16), 9)]
)
def test_launches_of_views(recipe: MultiView, launches: int) -> None:
    """Of each kind of view: parameters, the mean of contrast where there is a jitter, and the views; no wait."""
    images = torch.zeros(4, 3, 50, 60, dtype=torch.uint8, device="cuda")
    recipe(images, generator=1)
    assert gpu_calls.counts(lambda: recipe(images, generator=1)) == (launches, 0)


@pytest.mark.parametrize("rows", [4, 600])
def test_launches_of_views_that_wait(rows: int) -> None:
    """Parameters and views, few that blocks share or many; no wait."""
    images = torch.randint(0, 256, (rows, 3, 50, 60), dtype=torch.uint8, device="cuda")
    transform = Compose([RandomAutocontrast(1.0), RandomAdjustSharpness(2.0, 1.0), ToDtype()])
    views = transform(images, generator=1)
    assert gpu_calls.counts(lambda: transform(images, generator=1)) == (2, 0)
    assert torch.equal(transform(images[:4], generator=1), views[:4])


@pytest.mark.parametrize("rows", [2, 300])
def test_rand_augment_replays(rows: int) -> None:
    """Shared by blocks that meet, and whole views by a block each. Equalize and posterize split values by what
    rounding made of them: some pixels may tip.
    """
    images = (torch.arange(rows * 3 * 70 * 70) * 7 % 251).to(torch.uint8).view(rows, 3, 70, 70)
    transform = Compose([RandAugment(2, 12), ToDtype()])
    seed, on_gpu = torch.tensor([1], device="cuda"), images.cuda()
    graph, (replayed,) = captured(lambda: (transform(on_gpu, generator=seed),))
    for value in (1, 2):
        seed.fill_(value)
        graph.replay()
        assert torch.equal(replayed, transform(on_gpu, generator=value))
        off = (replayed.cpu() - transform(images, generator=value)).abs()
        assert (off > 5e-5).double().mean() < 5e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CALLS)
def test_losses_and_gradients_replay_on_new_inputs(name: str, dtype: torch.dtype) -> None:
    """With the numbers of the CPU; in several tiles."""

    def run(z0: Tensor, z1: Tensor) -> list[Tensor]:
        loss = CALLS[name](z0, z1)
        return [loss.detach(), *torch.autograd.grad(loss, (z0, z1), materialize_grads=True)]

    views = [torch.randn(300, 32).to(dtype).requires_grad_() for _ in range(2)]
    on_gpu = [torch.zeros(300, 32, dtype=dtype, device="cuda").normal_().requires_grad_() for _ in range(2)]
    graph, results = captured(lambda: run(*on_gpu))
    with torch.no_grad():
        for z, view in zip(on_gpu, views, strict=True):
            z.copy_(view)
    graph.replay()
    for ours, expected in zip(results, run(*views), strict=True):
        assert ours.dtype == expected.dtype
        off = (ours.cpu().double() - expected.double()).norm()
        assert off <= (2e-5 if ours.dtype == torch.float32 else 5e-3) * expected.double().norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masked_patches_replay_on_new_masks(dtype: torch.dtype) -> None:
    pred = torch.randn(4, 9, 48, dtype=dtype, device="cuda", requires_grad=True)
    images, mask = torch.randn(4, 3, 12, 12, device="cuda"), torch.rand(4, 9, device="cuda") < 0.5

    def call() -> tuple[Tensor, Tensor]:
        loss = masked_patch_loss(pred, images, mask, 4, norm_pix=True)
        return loss, *torch.autograd.grad(loss, pred)

    graph, results = captured(call)
    with torch.no_grad():
        images.normal_()
        mask.copy_(torch.rand(4, 9, device="cuda") < 0.7)
    graph.replay()
    for ours, expected in zip(results, call(), strict=True):
        assert torch.equal(ours, expected)
