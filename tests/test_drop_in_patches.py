"""Drop-ins for MAE, lightly and timm: their shapes, dtypes and counts, and their numbers where nothing is drawn."""

from __future__ import annotations

import pytest
import torch
from oracle import all_equal
from peer_oracle import peer
from torch import nn

from sslfast.masking.drop_in import lightly, mae, timm

RATIOS = [0.0, 0.1, 0.5, 0.6, 0.75, 0.8, 0.9]


# ---- mae


def published_random_masking(x, mask_ratio, noise):
    """The algorithm of MAE, with its noise from outside."""
    kept = int(x.shape[1] * (1 - mask_ratio))
    order = noise.argsort(dim=1)
    places = order.argsort(dim=1)
    x_kept = torch.stack([row[at] for row, at in zip(x, order[:, :kept], strict=True)])
    return x_kept, (places >= kept).float(), places


@pytest.mark.parametrize("length", [1, 3, 10, 100, 196])
@pytest.mark.parametrize("ratio", [*RATIOS, 1.0])
def test_random_masking_equals_mae_with_the_same_noise(length, ratio):
    x, noise = torch.randn(3, length, 4), torch.rand(3, length)
    ours = mae.random_masking(x, ratio, noise)
    assert all_equal(ours, published_random_masking(x, ratio, noise))
    shapes = [t.shape for t in mae.random_masking(x, ratio)]
    assert shapes == [t.shape for t in ours]


def test_random_masking_equals_vit_mae():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTMAEConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        image_size=32,
        patch_size=8,
        mask_ratio=0.7,
    )
    embeddings = transformers.models.vit_mae.modeling_vit_mae.ViTMAEEmbeddings(config)
    x, noise = torch.randn(4, 16, 8), torch.rand(4, 16)
    assert all_equal(mae.random_masking(x, 0.7, noise=noise), embeddings.random_masking(x, noise=noise))


def test_random_masking_keeps_what_floats_say():
    for length, ratio, keep in ((10, 0.9, 0), (100, 0.8, 19), (100, 0.9, 9)):  # exact arithmetic: 1, 20 and 10
        assert mae.random_masking(torch.zeros(1, length, 2), ratio)[0].shape[1] == keep


def test_random_masking_with_nothing_kept_has_a_gradient():
    x = torch.randn(2, 3, 4, requires_grad=True)
    kept, mask, _ = mae.random_masking(x, 1.0)
    assert kept.shape == (2, 0, 4)
    assert (mask == 1).all()
    (gradient,) = torch.autograd.grad(kept.sum(), x)
    assert torch.equal(gradient, torch.zeros_like(x))


def test_random_masking_draws_from_the_global_generator(device):
    x = torch.randn(2, 50, 3, device=device)
    torch.manual_seed(4)
    first, second = mae.random_masking(x, 0.5)[2], mae.random_masking(x, 0.5)[2]
    torch.manual_seed(4)
    assert torch.equal(mae.random_masking(x, 0.5)[2], first)
    assert not torch.equal(first, second)


# ---- lightly


@pytest.mark.parametrize("length", [1, 2, 10, 101, 197])
@pytest.mark.parametrize("ratio", [*RATIOS, 1.0])
@pytest.mark.parametrize("mask_class_token", [False, True])
def test_random_token_mask_has_lightlys_shapes(device, length, ratio, mask_class_token):
    theirs = peer("lightly.models.utils").random_token_mask((4, length), ratio, mask_class_token)
    ours = lightly.random_token_mask((4, length), ratio, mask_class_token, device=device)
    assert [(t.shape, t.dtype) for t in ours] == [(t.shape, t.dtype) for t in theirs]
    whole = torch.cat(ours, 1)
    assert whole.device.type == device.type
    assert torch.equal(whole.sort(1).values, torch.arange(length, device=device).expand(4, length))
    if not mask_class_token:
        assert (ours[0][:, 0] == 0).all()


def test_random_token_mask_defaults():
    theirs = peer("lightly.models.utils").random_token_mask(size=(2, 50))
    ours = lightly.random_token_mask(size=(2, 50))
    assert [t.shape for t in ours] == [t.shape for t in theirs]
    torch.manual_seed(1)
    first = lightly.random_token_mask((2, 50))
    torch.manual_seed(1)
    assert all_equal(lightly.random_token_mask((2, 50)), first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lightlys_selections(dtype):
    theirs = peer("lightly.models.utils")
    tokens, mask_token = torch.randn(3, 9, 4).to(dtype).requires_grad_(), torch.randn(1, 1, 4, requires_grad=True)
    mask = torch.rand(3, 9) < 0.5
    index = lightly.random_token_mask((3, 9))[1]
    calls = [
        (lightly.mask_bool, theirs.mask_bool, (tokens, mask, mask_token)),
        (lightly.mask_bool, theirs.mask_bool, (tokens, mask.float(), mask_token)),
        (lightly.mask_at_index, theirs.mask_at_index, (tokens, index, mask_token)),
        (lightly.get_at_index, theirs.get_at_index, (tokens, index)),
        (lightly.apply_masks, theirs.apply_masks, (tokens, [index, index.flip(1)])),
        (lightly.apply_masks, theirs.apply_masks, (tokens, index)),
    ]
    for ours, peers, arguments in calls:
        out, expected = ours(*arguments), peers(*arguments)
        assert out.dtype == expected.dtype
        assert torch.equal(out, expected), ours.__name__
        wanted = [t for t in (tokens, mask_token) if any(t is a for a in arguments)]
        upstream = torch.randn_like(out)
        pairs = zip(
            torch.autograd.grad(out, wanted, upstream), torch.autograd.grad(expected, wanted, upstream), strict=True
        )
        for k, g in pairs:
            assert torch.allclose(k, g, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-5), ours.__name__


def test_masked_nan_leaks_in_lightly_and_not_here():
    tokens, mask_token = torch.zeros(1, 2, 3), torch.ones(1, 1, 3)
    tokens[0, 1] = torch.nan
    mask = torch.tensor([[False, True]])
    assert peer("lightly.models.utils").mask_bool(tokens, mask, mask_token).isnan().any()
    assert lightly.mask_bool(tokens, mask, mask_token)[0, :, 0].tolist() == [0.0, 1.0]


# ---- timm


@pytest.mark.parametrize("prefix", [0, 1, 3])
@pytest.mark.parametrize("prob", [p for p in RATIOS if p] + [0.99])
@pytest.mark.parametrize("ordered", [False, True])
def test_patch_dropout_has_timms_shapes(device, prefix, prob, ordered):
    theirs = peer("timm.layers.patch_dropout").PatchDropoutWithIndices(prob, prefix, ordered)
    ours = timm.PatchDropoutWithIndices(prob, prefix, ordered)
    x = torch.randn(3, prefix + 10, 4, requires_grad=True)
    y = x.detach().to(device).requires_grad_()
    (expected, their_indices), (out, indices) = theirs(x), ours(y)
    assert (out.shape, out.dtype) == (expected.shape, expected.dtype)
    assert (indices.shape, indices.dtype) == (their_indices.shape, their_indices.dtype)
    patches = y[:, prefix:].gather(1, indices[..., None].expand(-1, -1, 4))
    assert torch.equal(out, torch.cat([y[:, :prefix], patches], 1))
    assert not ordered or (indices.diff(dim=1) > 0).all()
    assert all(len(row.unique()) == len(row) for row in indices)
    (gradient,) = torch.autograd.grad(out.sum(), y)
    assert (gradient.sum((1, 2)) == 4 * out.shape[1]).all()


def test_patch_dropout_alone():
    x = torch.randn(2, 9, 4)
    drop = timm.PatchDropout(0.5)
    torch.manual_seed(1)
    out = drop(x)
    torch.manual_seed(1)
    assert torch.equal(out, timm.PatchDropoutWithIndices(0.5)(x)[0])
    assert torch.equal(out[:, 0], x[:, 0])
    assert drop.eval()(x) is x
    assert timm.PatchDropoutWithIndices(0.5).eval()(x) == (x, None)
    assert timm.PatchDropout(0.0)(x) is x
    assert isinstance(nn.Sequential(drop, nn.Linear(4, 2)).train()(x), torch.Tensor)
    assert timm.PatchDropout(0.8)(torch.zeros(1, 101, 2)).shape[1] == 1 + 19  # exact arithmetic: 20


# ---- machinery and bad input


def test_compiles_to_one_graph():
    x, index = torch.randn(2, 9, 4), torch.tensor([[1, 2], [3, 4]])
    drop = timm.PatchDropout(0.5)
    for function, arguments in (
        (mae.random_masking, (x, 0.5)),
        (lightly.random_token_mask, ((2, 9),)),
        (lightly.mask_at_index, (x, index, torch.zeros(1, 1, 4))),
        (drop, (x,)),
    ):
        result = torch.compile(function, fullgraph=True, backend="aot_eager")(*arguments)
        expected = function(*arguments)
        pairs = zip(result, expected, strict=True) if isinstance(result, tuple) else ((result, expected),)
        assert all(k.shape == g.shape for k, g in pairs)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mae.random_masking([1.0], 0.5), TypeError, "random_masking: x must be a tensor, got list"),
        (
            lambda: mae.random_masking(torch.zeros(2, 3), 0.5),
            ValueError,
            "random_masking: x must have shape (N, L, D) with L >= 1, got (2, 3)",
        ),
        (
            lambda: mae.random_masking(torch.zeros(2, 3, 1), 1.5),
            ValueError,
            "random_masking: mask_ratio must be a probability in [0, 1], got 1.5",
        ),
        (
            lambda: mae.random_masking(torch.zeros(2, 3, 1), 0.5, torch.zeros(2, 4)),
            ValueError,
            "random_masking: noise must have shape (2, 3), one number a patch, got (2, 4)",
        ),
        (
            lambda: lightly.random_token_mask((2, 0)),
            ValueError,
            "random_token_mask: size[1] must be in [1, 4294967295], got 0",
        ),
        (
            lambda: lightly.random_token_mask((2.0, 4)),
            TypeError,
            "random_token_mask: size[0] must be an int, got float",
        ),
        (
            lambda: lightly.random_token_mask((2, 4), -0.5),
            ValueError,
            "random_token_mask: mask_ratio must be a probability in [0, 1], got -0.5",
        ),
        (
            lambda: timm.PatchDropout(1.0),
            ValueError,
            "PatchDropout: prob must be in [0, 1), got 1.0",
        ),
        (
            lambda: timm.PatchDropoutWithIndices(0.5, -1),
            ValueError,
            "PatchDropoutWithIndices: num_prefix_tokens must be at least 0, got -1",
        ),
        (
            lambda: timm.PatchDropout()(torch.zeros(2, 1, 4)),
            ValueError,
            "patch_dropout_forward: x must have shape (N, L, D) with L >= 2, got (2, 1, 4)",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
