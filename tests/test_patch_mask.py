"""patch_mask: the reference bit for bit, exact counts, MAE's own algorithm. The copies are in test_patch_gather.py."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import PatchMask, mask_patches, random_patch_mask
from sslfast.random import philox_words, seed_tensor
from sslfast.reference import patch_mask as reference

# (rows, patches, ratio) and why it is there
SIZES = [
    (1, 1, 0.0),  # one patch, which stays
    (3, 7, 0.5),  # not whole counters
    (4, 196, 0.75),  # ViT-B/16 at 224: the smallest sorting block of the CUDA kernel
    (2, 256, 0.75),  # filled to the last place
    (2, 257, 0.1),  # the middle block
    (2, 1568, 0.9),  # VideoMAE: the largest block
    (2, 4096, 0.75),  # filled to the last place
    (2, 4099, 0.3),  # ranks by counting: two tiles of keys
    (300, 5, 0.6),  # many rows
    (0, 9, 0.5),  # no rows
]


def mae_random_masking(x, mask_ratio, noise):
    """``MaskedAutoencoderViT.random_masking`` as published, its noise from outside."""
    n, length, width = x.shape
    keep = int(length * (1 - mask_ratio))
    ids_shuffle = torch.argsort(noise, dim=1)
    ids_restore = torch.argsort(ids_shuffle, dim=1)
    ids_keep = ids_shuffle[:, :keep]
    x_masked = torch.gather(x, dim=1, index=ids_keep.unsqueeze(-1).repeat(1, 1, width))
    mask = torch.ones([n, length], device=x.device)
    mask[:, :keep] = 0
    return x_masked, torch.gather(mask, dim=1, index=ids_restore), ids_restore


@pytest.mark.parametrize(("rows", "patches", "ratio"), SIZES)
@pytest.mark.parametrize(("seed", "row_offset"), [(7, 0), (-1, 5), (2**63 - 1, 2**40)])
def test_equals_reference(device, rows, patches, ratio, seed, row_offset):
    expected = reference.random_patch_mask(rows, patches, ratio, seed=seed, row_offset=row_offset)
    ours = random_patch_mask(rows, patches, ratio, generator=seed, row_offset=row_offset, device=device)
    assert isinstance(ours, PatchMask)
    assert all_equal(ours, expected)
    arrays = host.random_patch_mask(rows, patches, ratio, seed=seed, row_offset=row_offset, threads=2)
    assert all_equal([torch.from_numpy(a) for a in arrays], expected)


@pytest.mark.parametrize(("rows", "patches", "ratio"), SIZES)
def test_count_and_permutation(device, rows, patches, ratio):
    ids_keep, ids_restore, mask = random_patch_mask(rows, patches, ratio, device=device)
    keep = int(patches * (1 - Fraction(str(ratio))))
    assert ids_keep.shape == (rows, keep)
    assert ((~mask).sum(1) == keep).all()
    whole = torch.arange(patches, device=device).expand(rows, patches)
    assert torch.equal(ids_restore.sort(1).values, whole)
    assert torch.equal(ids_restore.gather(1, ids_keep), whole[:, :keep])
    assert torch.equal(mask, ids_restore >= keep)


def test_longer_than_any_block(device):
    ours = random_patch_mask(1, 50_001, 0.5, generator=3, device=device)
    assert all_equal(ours, reference.random_patch_mask(1, 50_001, 0.5, seed=3))


def test_ties_go_to_the_lower_index(device):
    """Among 2^17 keys of 32 bits two are equal in this row: the order is by (key, index)."""
    patches, seed = 2**17, 0
    keys = philox_words(seed, 1, patches // 4, stream=3).flatten()
    assert len(keys.unique()) < patches, "choose another seed"
    order = torch.argsort(keys, stable=True)
    ids_restore = random_patch_mask(1, patches, 0.5, generator=seed, device=device).ids_restore
    assert torch.equal(torch.argsort(ids_restore[0]).cpu(), order)


@pytest.mark.parametrize(
    ("patches", "ratio", "keep"),
    [(10, 0.9, 1), (100, 0.8, 20), (100, 0.9, 10), (196, 0.75, 49), (3, 2 / 3, 1), (3, 1 - 1 / 3, 1), (7, 0.5, 3)],
)
def test_count_has_no_float_floor(patches, ratio, keep):
    assert random_patch_mask(1, patches, ratio).ids_keep.shape == (1, keep)
    assert host.random_patch_mask(1, patches, ratio, seed=1).ids_keep.shape == (1, keep)


def test_count_is_that_of_exact_arithmetic():
    for patches, percent in itertools.product(range(1, 130), range(0, 100, 5)):
        keep = patches * (100 - percent) // 100
        if keep:
            assert random_patch_mask(0, patches, percent / 100).ids_keep.shape == (0, keep), (patches, percent)


def test_equals_mae_when_its_noise_is_our_keys():
    x = torch.randn(6, 196, 8)
    noise = philox_words(5, 6, 49, stream=3).reshape(6, 196).double() / 2**32
    expected = mae_random_masking(x, 0.75, noise)
    kept, mask, ids_restore = mask_patches(x, 0.75, generator=5)
    assert torch.equal(kept, expected[0])
    assert torch.equal(mask.float(), expected[1])
    assert torch.equal(ids_restore, expected[2])


# ---- what the draws depend on


def test_shards_equal_the_whole(device):
    whole = random_patch_mask(10, 50, generator=8, device=device)
    sizes = ((0, 3), (3, 4), (4, 10))
    parts = [random_patch_mask(b - a, 50, generator=8, row_offset=a, device=device) for a, b in sizes]
    assert all_equal([torch.cat(part) for part in zip(*parts, strict=True)], [t.cpu() for t in whole])
    x = torch.randn(10, 50, 4, device=device)
    kept = torch.cat([mask_patches(x[a:b], generator=8, row_offset=a)[0] for a, b in sizes])
    assert torch.equal(kept, mask_patches(x, generator=8)[0])


def test_any_number_of_threads():
    x = torch.randn(64, 500, 64, requires_grad=True)  # enough work for several threads
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 7):
            torch.set_num_threads(n)
            outputs = mask_patches(x, generator=5)
            results.append([*outputs, *torch.autograd.grad(outputs[0].sum(), x)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all_equal(other, results[0])


def test_none_draws_once_from_the_global_generator(device):
    x = torch.randn(2, 40, 3, device=device)
    for call in (lambda **g: mask_patches(x, **g)[2], lambda **g: random_patch_mask(2, 40, device=device, **g)[1]):
        torch.manual_seed(1)
        first, second, state = call(), call(), torch.get_rng_state()
        torch.manual_seed(1)
        seeds = [seed_tensor(), seed_tensor()]
        assert torch.equal(state, torch.get_rng_state())
        assert not torch.equal(first, second)
        assert torch.equal(first, call(generator=seeds[0]))
        assert torch.equal(second, call(generator=seeds[1].item()))
        assert torch.equal(second, call(generator=seeds[1].to(device)))
        assert torch.equal(state, torch.get_rng_state())


def test_activation_checkpointing_masks_the_same_patches(device):
    x = torch.randn(4, 20, 6, device=device, requires_grad=True)

    def loss(x):
        return (mask_patches(x, 0.5)[0] ** 2).sum()

    torch.manual_seed(3)
    (expected,) = torch.autograd.grad(loss(x), x)
    torch.manual_seed(3)
    (ours,) = torch.autograd.grad(torch.utils.checkpoint.checkpoint(loss, x, use_reentrant=False), x)
    assert torch.equal(ours, expected)


# ---- torch's machinery


def test_opcheck(device):
    x = torch.randn(2, 8, 3, device=device)
    torch.library.opcheck(ops.patch_mask, (x, torch.tensor(1), None, 2, 8, 3, 0))
    ids_keep, ids_restore, _ = random_patch_mask(2, 8, 0.5, device=device)
    torch.library.opcheck(ops.patch_gather, (x, ids_keep))
    torch.library.opcheck(ops.patch_gather, (x.mT.contiguous().mT, ids_keep))
    torch.library.opcheck(ops.patch_scatter, (x[:, :4], ids_restore))


def test_compiles_to_one_graph(device):
    compiled = torch.compile(mask_patches, fullgraph=True)
    for rows, patches, ratio in ((3, 16, 0.75), (5, 40, 0.75), (5, 40, 0.5)):  # from the second on with symbols
        x = torch.randn(rows, patches, 4, device=device, requires_grad=True)
        ours, expected = compiled(x, ratio, generator=2), mask_patches(x, ratio, generator=2)
        for k, g in zip(ours, expected, strict=True):
            assert torch.equal(k, g)
        (a,) = torch.autograd.grad((ours[0] ** 2).sum(), x)
        (b,) = torch.autograd.grad((expected[0] ** 2).sum(), x)
        assert torch.equal(a, b)
    drawn = compiled(x, 0.75)[2]
    assert not torch.equal(drawn, compiled(x, 0.75)[2])
    compiled = torch.compile(random_patch_mask, fullgraph=True)
    ours = compiled(2, 8, 0.5, generator=1, device=device)
    assert all_equal(ours, [t.cpu() for t in random_patch_mask(2, 8, 0.5, generator=1)])


def test_autocast_changes_nothing(device):
    x = torch.randn(2, 8, 3, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        kept = mask_patches(x, 0.5, generator=1)[0]
    assert torch.equal(kept, mask_patches(x, 0.5, generator=1)[0])


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": -1}, ValueError, "batch_size must be at least 0, got -1"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an int, got float"),
        ({"num_patches": 0}, ValueError, "num_patches must be in [1, 4294967295], got 0"),
        ({"num_patches": "9"}, TypeError, "num_patches must be an int, got str"),
        ({"mask_ratio": 1.0}, ValueError, "mask_ratio must be in [0, 1), got 1.0"),
        ({"mask_ratio": -0.1}, ValueError, "mask_ratio must be in [0, 1), got -0.1"),
        ({"mask_ratio": float("nan")}, ValueError, "mask_ratio must be finite, got nan"),
        ({"mask_ratio": None}, TypeError, "mask_ratio must be a number, got NoneType"),
        ({"num_patches": 3}, ValueError, "mask_ratio must keep at least 1 of 3 patches, got 0.75"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    for function, seed in ((random_patch_mask, {}), (host.random_patch_mask, {"seed": 1})):
        with pytest.raises(error) as raised:
            function(**{"batch_size": 2, "num_patches": 8, **arguments, **seed})
        assert str(raised.value) == f"random_patch_mask: {message}"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [1.0]}, TypeError, "x must be a tensor, got list"),
        ({"x": torch.zeros(2, 3)}, ValueError, "x must have shape (N, L, D) with L >= 1, got (2, 3)"),
        ({"x": torch.zeros(2, 0, 3)}, ValueError, "x must have shape (N, L, D) with L >= 1, got (2, 0, 3)"),
        (
            {"x": torch.zeros(2, 8, 3, dtype=torch.complex128)},
            TypeError,
            "x must have elements of at most 8 bytes, got torch.complex128",
        ),
        ({"mask_ratio": 1}, ValueError, "mask_ratio must be in [0, 1), got 1"),
        ({"mask_ratio": 0.9}, ValueError, "mask_ratio must keep at least 1 of 8 patches, got 0.9"),
        ({"row_offset": 1.0}, TypeError, "row_offset must be an int, got float"),
        (
            {"generator": 1.0},
            TypeError,
            "generator must be None, an int, a torch.Generator or an int64 tensor, got float",
        ),
    ],
)
def test_mask_patches_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        mask_patches(**{"x": torch.zeros(2, 8, 3), **arguments})
    assert str(raised.value) == f"mask_patches: {message}"
