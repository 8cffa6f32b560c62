"""NTXentLoss and nt_xent_loss against the definition, lightly and analytic values."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import assert_has_signature_of
from oracle import assert_no_worse
from peer_oracle import peer
from torch import Tensor

from sslfast.losses import NTXentLoss, _few_pairs, nt_xent_loss
from sslfast.reference.nt_xent import nt_xent_loss as reference


def with_grads(function, z0: Tensor, z1: Tensor, temperature: float) -> list[Tensor]:
    z0, z1 = (z.detach().clone().requires_grad_() for z in (z0, z1))
    loss = function(z0, z1, temperature)
    return [loss.detach(), *torch.autograd.grad(loss, (z0, z1))]


# N, D, temperature: one pair; odd sizes; one tile of 256 rows exactly; more than one; low and negative temperature.
@pytest.mark.parametrize(
    ("n", "d", "temperature"),
    [(1, 4, 0.5), (5, 1, 0.5), (7, 33, 0.1), (128, 16, 0.2), (300, 20, 0.07), (40, 16, 0.01), (9, 8, -0.5)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n: int, d: int, temperature: float, dtype: torch.dtype, device: torch.device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU; test_nt_xent_input has it")
    z0, z1 = torch.randn(2, n, d, dtype=dtype)
    ours = with_grads(nt_xent_loss, z0.to(device), z1.to(device), temperature)
    same = with_grads(reference, z0, z1, temperature)
    truth = with_grads(reference, z0.double(), z1.double(), temperature)
    eps = torch.finfo(dtype).eps
    for k, r, g in zip(ours, same, truth, strict=True):
        assert_no_worse(k, r, g, 8 * eps * max(1.0, g.abs().max().item()) / min(1.0, abs(temperature)))


def debiased_reference(z0: Tensor, z1: Tensor, temperature: float, tau_plus: float) -> Tensor:
    """Equation 8 of Chuang et al., 2020, with every view's 2N - 2 negatives."""
    views = F.normalize(torch.cat([z0, z1]), dim=1)
    similar = (views @ views.T / temperature).exp()
    own = torch.arange(len(views))
    positive = similar[own, own.roll(len(z0))]
    negatives = similar.sum(dim=1) - similar.diagonal() - positive
    count = len(views) - 2
    rest = (negatives - tau_plus * count * positive) / (1 - tau_plus)
    return -torch.log(positive / (positive + rest.clamp_min(count * math.exp(-1 / temperature)))).mean()


@pytest.mark.parametrize("tau_plus", [0.01, 0.1, 0.9])
def test_debiased(tau_plus: float) -> None:
    z0, z1 = torch.randn(2, 9, 6, dtype=torch.float64)
    found = with_grads(lambda a, b, t: nt_xent_loss(a, b, t, tau_plus=tau_plus), z0, z1, 0.5)
    expected = with_grads(lambda a, b, t: debiased_reference(a, b, t, tau_plus), z0, z1, 0.5)
    for k, g in zip(found, expected, strict=True):
        torch.testing.assert_close(k, g)
    assert torch.equal(NTXentLoss(0.5, tau_plus=tau_plus)(z0, z1), found[0])


@pytest.mark.parametrize("temperature", [0.5, 0.07, -0.3])
def test_has_lightlys_value_and_gradients(temperature: float) -> None:
    z0, z1 = torch.randn(2, 24, 12, dtype=torch.float64)
    theirs = peer("lightly.loss").NTXentLoss(temperature)
    ours = with_grads(nt_xent_loss, z0, z1, temperature)
    for k, g in zip(ours, with_grads(lambda a, b, _: theirs(a, b), z0, z1, temperature), strict=True):
        torch.testing.assert_close(k, g, rtol=1e-12, atol=1e-14)


def test_has_lightlys_signature() -> None:
    assert_has_signature_of(peer("lightly.loss").NTXentLoss, NTXentLoss)
    out0, out1 = torch.randn(2, 5, 4)
    assert torch.equal(NTXentLoss()(out1=out1, out0=out0), nt_xent_loss(out0, out1))


def test_goes_through_the_steps_of_lightly_with_a_memory_bank() -> None:
    losses = []
    for make in (NTXentLoss, peer("lightly.loss").NTXentLoss):
        torch.manual_seed(1)
        criterion = make(0.2, memory_bank_size=(12, 8))
        found = []
        for step in range(5):  # 4 rows each: the ring is full after 3
            z0, z1 = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(step))
            z0.requires_grad_()
            z1.requires_grad_()
            loss = criterion(z0, z1)
            found += [loss.detach(), *torch.autograd.grad(loss, (z0, z1))]
        z0, z1 = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(9))
        found += [criterion(z0, z1), criterion(z0, z1), criterion.memory_bank.bank]  # evaluation changes nothing
        losses.append(found)
    for ours, theirs in zip(*losses, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_no_worse_than_eager(dtype: torch.dtype, device: torch.device) -> None:
    z0, z1 = torch.randn(2, 50, 32).to(dtype)
    loss, *grads = with_grads(nt_xent_loss, z0.to(device), z1.to(device), 0.1)
    same, *same_grads = with_grads(reference, z0, z1, 0.1)
    truth, *true_grads = with_grads(reference, z0.double(), z1.double(), 0.1)
    assert loss.dtype == torch.float32
    assert_no_worse(loss, same.float(), truth, 1e-6)
    for k, r, g in zip(grads, same_grads, true_grads, strict=True):
        eps = torch.finfo(dtype).eps  # the gradient itself is rounded to the dtype, and so are its weights
        assert_no_worse(k, r, g, eps * g.abs() + eps / 16 * g.abs().max())


def test_gradcheck() -> None:
    z0, z1 = torch.randn(2, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: nt_xent_loss(a, b, 0.3), (z0, z1))


def test_analytic_values() -> None:
    one = torch.ones(4, 3)
    torch.testing.assert_close(nt_xent_loss(one, one), torch.tensor(math.log(7)))  # 7 equal logits
    assert nt_xent_loss(torch.randn(1, 3), torch.randn(1, 3)) == 0  # no negatives
    eye = torch.eye(8)
    expected = math.log1p(14 * math.exp(-1 / 0.1))  # one logit of 10 against 14 of 0
    torch.testing.assert_close(nt_xent_loss(eye, eye, 0.1), torch.tensor(expected))


def test_small_losses_keep_their_precision() -> None:
    z = torch.eye(8, dtype=torch.float64) + 0.01 * torch.randn(8, 8, dtype=torch.float64)
    truth = with_grads(reference, z, z, 0.02)
    assert truth[0] < 1e-15
    ours = with_grads(nt_xent_loss, z.float(), z.float(), 0.02)
    torch.testing.assert_close(ours[0].double(), softplus_truth(z, 0.02), rtol=1e-4, atol=0)
    assert ours[1].abs().max() > 0  # the gradient of a one-hot subtracted after rounding would be zero or noise


def softplus_truth(z: Tensor, temperature: float) -> Tensor:
    unit = F.normalize(torch.cat([z, z]), dim=1)
    logits = unit @ unit.T / temperature
    index = torch.arange(len(unit))
    positive = logits[index, index.roll(len(z))]
    logits[index, index] = logits[index, index.roll(len(z))] = -math.inf
    return torch.log1p(torch.exp(torch.logsumexp(logits, 1) - positive)).mean()


def test_zero_rows_have_the_gradient_of_normalize() -> None:
    z0, z1 = torch.randn(2, 5, 4, dtype=torch.float64)
    z0[2] = 0
    ours, truth = with_grads(nt_xent_loss, z0, z1, 0.5), with_grads(reference, z0, z1, 0.5)
    for k, g in zip(ours, truth, strict=True):
        torch.testing.assert_close(k, g)


def test_nan_and_inf_reach_the_loss() -> None:
    for bad in (math.nan, math.inf):
        z0, z1 = torch.randn(2, 6, 4)
        z1[3, 2] = bad
        loss, grad0, grad1 = with_grads(nt_xent_loss, z0, z1, 0.5)
        assert loss.isnan()
        assert grad0.isnan().any()
        assert grad1.isnan().any()


def test_strides_mixed_dtypes_and_pruned_gradients() -> None:
    z0, z1 = torch.randn(12, 2 * 6, dtype=torch.float64)[:, ::2], torch.randn(6, 12, dtype=torch.float64).T
    truth = reference(z0, z1, 0.2)
    torch.testing.assert_close(nt_xent_loss(z0, z1, 0.2), truth)
    torch.testing.assert_close(nt_xent_loss(z0.float(), z1, 0.2), truth, rtol=1e-6, atol=0)
    z1 = z1.clone().requires_grad_()
    nt_xent_loss(z0.float(), z1, 0.2).backward()
    assert z1.grad is not None
    assert z1.grad.dtype == torch.float64


@pytest.mark.parametrize("dtypes", [(torch.float32,) * 2, (torch.bfloat16,) * 2, (torch.float64, torch.float16)])
def test_a_locked_view_changes_no_bit_of_the_other_gradient(dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    views = [torch.randn(300, 20).to(dtype) for dtype in dtypes]  # more than a small batch
    both = [z.clone().requires_grad_() for z in views]
    expected = torch.autograd.grad(nt_xent_loss(*both, 0.1), both)
    for k in range(2):
        leaves = [z.clone().requires_grad_(i == k) for i, z in enumerate(views)]
        nt_xent_loss(*leaves, 0.1).backward()
        assert torch.equal(leaves[k].grad, expected[k])
        assert leaves[1 - k].grad is None


def test_autocast_and_checkpointing_leave_the_loss_alone() -> None:
    z0, z1 = torch.randn(2, 10, 8)
    plain = with_grads(nt_xent_loss, z0, z1, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = with_grads(nt_xent_loss, z0, z1, 0.1)
    checkpointed = with_grads(
        lambda a, b, t: torch.utils.checkpoint.checkpoint(nt_xent_loss, a, b, t, use_reentrant=False), z0, z1, 0.1
    )
    for a, b, c in zip(plain, under, checkpointed, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_budget_bounds_what_is_kept_and_changes_nothing(dtype: torch.dtype) -> None:
    z0, z1 = torch.randn(2, 400, 16).to(dtype)
    kept, results = [], []
    for budget in (0, 3, 500_000, 1_500_000, 10**9, None):
        sizes = []

        def pack(t: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(t.numel() * t.element_size())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = nt_xent_loss(z0.requires_grad_(), z1.requires_grad_(), 0.1, memory_budget=budget)
        kept.append(max(sizes))
        results.append([loss.detach(), *torch.autograd.grad(loss, (z0, z1))])
    inputs = 800 * 16 * dtype.itemsize
    assert kept[:2] == [inputs, inputs]  # the normalised rows, or the rows themselves
    assert 400_000 < kept[2] <= 500_000
    assert 1_400_000 < kept[3] <= 1_500_000
    assert kept[4] < 1.4 * 4 * 800**2 / 2  # half the similarities
    assert kept[5] <= 2 * 2**20
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_second_derivative_is_refused() -> None:
    z0, z1 = torch.randn(2, 4, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(nt_xent_loss(z0, z1), z0, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^nt_xent_loss: second derivatives are not supported$"):
        (grad.square().sum() + z0.sum()).backward()  # with another path to z0, as in a gradient penalty


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiles_in_one_graph(monkeypatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(_few_pairs, "_MOST", 0)  # a graph has tiles, which multiply bfloat16 as it is
    compiled = torch.compile(nt_xent_loss, fullgraph=True, backend="aot_eager")
    z0, z1 = torch.randn(2, 10, 8).to(dtype)
    for k, g in zip(with_grads(compiled, z0, z1, 0.1), with_grads(nt_xent_loss, z0, z1, 0.1), strict=True):
        torch.testing.assert_close(k, g)


def test_module() -> None:
    z0, z1 = torch.randn(2, 10, 8)
    assert torch.equal(NTXentLoss()(z0, z1), nt_xent_loss(z0, z1, 0.5))
    assert torch.equal(NTXentLoss(0.1)(z0, z1), nt_xent_loss(z0, z1, 0.1))
    assert torch.equal(NTXentLoss(memory_budget=0)(z0, z1), nt_xent_loss(z0, z1, memory_budget=0))
    assert "temperature=0.1" in repr(NTXentLoss(0.1))
    assert NTXentLoss(memory_bank_size=(0, 128)).memory_bank is None
