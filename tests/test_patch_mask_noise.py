"""random_patch_mask and mask_patches by given noise, behind prefix tokens and in ascending order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import mask_patches, random_patch_mask
from sslfast.reference import patch_mask as reference

# (rows, patches) and why: one per way to sort, and where its blocks are full
SIZES = [(1, 1), (3, 7), (4, 196), (2, 256), (2, 257), (2, 1568), (2, 4096), (2, 4099), (0, 9)]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ORDERS = ["random", "sorted"]


def noises(rows, patches, dtype):
    """What is drawn, what ties, signed zeros, infinities and numbers that only float64 tells apart."""
    drawn = torch.rand(rows, patches, dtype=torch.float64)
    yield drawn.to(dtype)
    yield (drawn * 4 - 2).round().to(dtype)  # many ties; -0 and 0 among them
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, -1e-40, 1e-40, -3.0], dtype=torch.float64)
    yield special[torch.randint(8, (rows, patches))].to(dtype)
    yield (1 + drawn * 2**-40).to(dtype)


@pytest.mark.parametrize(("rows", "patches"), SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_order_of_noise(device, rows, patches, dtype):
    for noise in noises(rows, patches, dtype):
        for order in ORDERS:
            expected = reference.random_patch_mask(rows, patches, 0.5 * (patches > 1), noise=noise, order=order)
            ratio = 0.5 if patches > 1 else 0.0
            ours = random_patch_mask(rows, patches, ratio, noise=noise.to(device), order=order)
            assert ours.mask.device.type == device.type
            assert all_equal(ours, expected)
            if dtype != torch.bfloat16:
                arrays = host.random_patch_mask(
                    rows, patches, ratio, noise=noise.numpy(), seed=None, order=order, threads=2
                )
                assert all_equal([torch.from_numpy(a) for a in arrays], expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_mae_with_the_same_noise(dtype):
    x, noise = torch.randn(6, 196, 8), torch.rand(6, 196).to(dtype)
    order = torch.argsort(noise, dim=1, stable=True)
    expected = torch.gather(x, 1, order[:, :49, None].expand(-1, -1, 8))
    kept, mask, ids_restore = mask_patches(x, 0.75, noise=noise)
    assert torch.equal(kept, expected)
    assert torch.equal(ids_restore, torch.argsort(order, dim=1))
    assert torch.equal(mask, ids_restore >= 49)


def test_nan_is_masked_first_and_a_row_of_nan_keeps_its_first_patches(device):
    noise = torch.rand(3, 8, device=device)
    noise[0, :3] = torch.nan
    noise[1] = torch.nan
    ids_keep, _, mask = random_patch_mask(3, 8, 0.375, noise=noise)
    assert mask[0].tolist() == [True] * 3 + [False] * 5
    assert ids_keep[1].tolist() == [0, 1, 2, 3, 4]
    negative = torch.tensor([[-torch.nan, 1.0, 2.0, 3.0]], device=device)
    assert random_patch_mask(1, 4, 0.25, noise=negative).mask.tolist() == [[True, False, False, False]]


def test_noise_draws_nothing_and_may_have_any_strides(device):
    noise = torch.rand(20, 3, 2, device=device).double().requires_grad_()
    state = torch.get_rng_state()
    for view in (noise[..., 0].T, noise[:3, :, 1].T.contiguous().T.expand(3, 3), noise[:1, :, 0].expand(5, 3)):
        expected = reference.random_patch_mask(*view.shape, 0.5, noise=view.detach().cpu())
        assert all_equal(random_patch_mask(*view.shape, 0.5, noise=view), expected)
    assert torch.equal(state, torch.get_rng_state())


# ---- prefix tokens and order


@pytest.mark.parametrize(("rows", "patches"), SIZES)
@pytest.mark.parametrize("prefix", [0, 1, 5, 300])  # 300: more than a block has threads
@pytest.mark.parametrize("order", ORDERS)
def test_prefix_and_order(device, rows, patches, prefix, order):
    ratio = 0.5 if patches > 1 else 0.0
    arguments = {"num_prefix_tokens": prefix, "order": order, "row_offset": 3}
    expected = reference.random_patch_mask(rows, patches, ratio, seed=5, **arguments)
    assert all_equal(random_patch_mask(rows, patches, ratio, generator=5, device=device, **arguments), expected)
    arrays = host.random_patch_mask(rows, patches, ratio, seed=5, **arguments)
    assert all_equal([torch.from_numpy(a) for a in arrays], expected)


def test_neither_prefix_nor_order_changes_what_is_masked(device):
    plain = random_patch_mask(4, 50, generator=2, device=device).mask
    for order in ORDERS:
        ids_keep, ids_restore, mask = random_patch_mask(
            4, 50, generator=2, num_prefix_tokens=2, order=order, device=device
        )
        assert torch.equal(mask[:, 2:], plain)
        assert not mask[:, :2].any()
        assert torch.equal(ids_keep[:, :2], torch.tensor([0, 1], device=device).expand(4, 2))
        assert torch.equal(ids_restore.gather(1, ids_keep), torch.arange(14, device=device).expand(4, 14))
    assert (ids_keep.diff(dim=1) > 0).all()


@pytest.mark.parametrize("order", ORDERS)
def test_mask_patches_behind_a_class_token(device, order):
    x = torch.randn(3, 17, 4, device=device, requires_grad=True)
    kept, mask, ids_restore = mask_patches(x, 0.75, num_prefix_tokens=1, order=order, generator=7)
    expected = reference.mask_patches(x.detach().cpu(), 0.75, num_prefix_tokens=1, order=order, seed=7)
    assert all_equal([kept.detach(), mask, ids_restore], expected)
    assert torch.equal(kept[:, 0], x[:, 0])
    if order == "sorted":
        assert torch.equal(kept, x[~mask].reshape(3, 5, 4))
    kept.sum().backward()
    assert torch.equal(x.grad, (~mask)[..., None].expand_as(x).float())


def test_composes(device):
    x, noise = torch.randn(2, 9, 3, device=device), torch.rand(2, 8, device=device)
    torch.library.opcheck(ops.patch_mask, (x, torch.tensor(1), None, 2, 8, 3, 0, 1, True, noise))

    def call(x, noise):
        return mask_patches(x, 0.5, noise=noise, num_prefix_tokens=1, order="sorted")

    assert all_equal(torch.compile(call, fullgraph=True)(x, noise), [t.cpu() for t in call(x, noise)])


# ---- bad input

NOISE = torch.zeros(2, 8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"noise": [[0.0]]}, TypeError, "noise must be a floating-point {array}, got list"),
        ({"noise": NOISE.long()}, TypeError, "noise must be a floating-point {array}, got {int64}"),
        ({"noise": NOISE[:1]}, ValueError, "noise must have shape (2, 8), one number a patch, got (1, 8)"),
        ({"noise": NOISE[0]}, ValueError, "noise must have shape (2, 8), one number a patch, got (8,)"),
        (
            {"noise": NOISE, "row_offset": 1},
            ValueError,
            "{seed}, sample_ids and row_offset must not be given beside noise",
        ),
        ({"noise": NOISE, "seed": 1}, ValueError, "{seed}, sample_ids and row_offset must not be given beside noise"),
        ({"num_prefix_tokens": -1}, ValueError, "num_prefix_tokens must be at least 0, got -1"),
        ({"num_prefix_tokens": 1.0}, TypeError, "num_prefix_tokens must be an int, got float"),
        ({"order": "up"}, ValueError, "order must be 'random' or 'sorted', got 'up'"),
        ({"order": None}, ValueError, "order must be 'random' or 'sorted', got None"),
    ],
)
def test_bad_input(arguments, error, message):
    words = {"array": "tensor", "int64": "torch.int64", "seed": "generator"}
    given = {("generator" if key == "seed" else key): value for key, value in arguments.items()}
    with pytest.raises(error) as raised:
        random_patch_mask(2, 8, **given)
    assert str(raised.value) == f"random_patch_mask: {message.format(**words)}"
    with pytest.raises(error) as raised:
        mask_patches(torch.zeros(2, 8 + (arguments.get("num_prefix_tokens") == 1), 3), **given)
    assert str(raised.value) == f"mask_patches: {message.format(**words)}"
    words = {"array": "array", "int64": "int64", "seed": "seed"}
    given = {key: value.numpy() if isinstance(value, torch.Tensor) else value for key, value in arguments.items()}
    given = {"seed": None if "noise" in arguments else 1, **given}
    with pytest.raises(error) as raised:
        host.random_patch_mask(2, 8, **given)
    assert str(raised.value) == f"random_patch_mask: {message.format(**words)}"


def test_more_bad_input():
    with pytest.raises(TypeError, match="random_patch_mask: seed must be an int, got NoneType"):
        host.random_patch_mask(2, 8, seed=None)
    with pytest.raises(ValueError, match=r"x must have shape \(N, L, D\) with L >= 3, got \(2, 2, 3\)"):
        mask_patches(torch.zeros(2, 2, 3), num_prefix_tokens=2)
    with pytest.raises(ValueError, match="random_patch_mask: noise must be on meta, got cpu"):
        random_patch_mask(2, 8, noise=NOISE, device="meta")
    assert (
        host.random_patch_mask(2, 8, 0.5, seed=None, noise=np.zeros((8, 2)).T).ids_keep.tolist() == [[0, 1, 2, 3]] * 2
    )
