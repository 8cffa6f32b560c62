"""similarity_softmax late in training, where weights are small beside what they are rounded from: Triton (interpreted,
or native with -m gpu) against the definition.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from loss_regimes import Regime, rounding_of_weights
from loss_regimes import problem as problem_of_loss
from torch import Tensor

from sslfast.reference.similarity_softmax import label_sums, similarity_softmax

INF = float("inf")


# Where the positive's logit is far above the negatives', the weights are 1e-6 and smaller, and differ by as much again.
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("in_registers", [True, False])
@pytest.mark.parametrize(("loss", "temperature"), [(1e-6, 0.04), (1e-6, 0.005), (1e-2, 0.005)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_triton_late_in_training(loss, temperature, in_registers, dtype, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.similarity_softmax import forward
    from sslfast.kernels.similarity_softmax_backward import backward

    monkeypatch.setattr(_launch, "similarity_in_registers", lambda *shape: in_registers)
    rows = torch.cat(problem_of_loss("nt_xent_loss", Regime(loss, temperature, 67, 80))).to(dtype)
    positives, scale = torch.arange(134).roll(67), 1 / temperature
    leaf = rows.double().requires_grad_()
    lse, positive_logits = similarity_softmax(leaf, positives, scale)
    expected = F.softplus(lse - positive_logits).mean()
    expected.backward()
    assert 0.5 < expected / loss < 2

    x, p = rows.to(triton_device), positives.to(triton_device)
    max_norm = 1.0 if scale < 40 else INF
    lse, positive_logits, kept = forward(x, p, scale, max_norm, 0)
    margin = lse - positive_logits
    share = torch.sigmoid(margin) / len(x)
    grad = backward(x, p, lse, share, -share, kept, scale, max_norm).cpu().double()
    bound = 2 * torch.finfo(torch.float32).eps * scale
    assert abs(F.softplus(margin).mean().item() / expected.item() - 1) <= bound
    assert leaf.grad is not None
    assert (grad - leaf.grad).norm() <= (bound + rounding_of_weights(dtype)) * leaf.grad.norm()


# Of positives that are nearly one, the softmax and their shares nearly cancel: before weights are rounded.
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("in_registers", [True, False])
@pytest.mark.parametrize("loss", [1e-2, 1e-5])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_triton_late_in_training_with_labels(loss, in_registers, dtype, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.similarity_softmax import forward
    from sslfast.kernels.similarity_softmax_backward import backward

    monkeypatch.setattr(_launch, "similarity_in_registers", lambda *shape: in_registers)
    x = problem_of_loss("supcon_loss, three views", Regime(loss, 0.04, 43, 48))[0].to(dtype)
    factors = None if dtype == torch.float32 else x.float().norm(dim=1).reciprocal()
    labels, nobody = torch.arange(43, dtype=torch.int32).repeat(3), torch.full((129,), -1)

    def gradient(unit: Tensor) -> Tensor:
        unit = unit.clone().requires_grad_()
        lse, _ = similarity_softmax(unit, nobody, 25.0)
        (grad,) = torch.autograd.grad((lse - label_sums(unit, nobody, 25.0, labels) / 2).mean(), unit)
        return grad.double()

    unit = x.double() if factors is None else x.double() * factors.double().unsqueeze(1)
    truth, plain = gradient(unit), gradient(unit.float())
    x, positives, labels = (t.to(triton_device) for t in (x, nobody, labels))
    factors = None if factors is None else factors.to(triton_device)
    lse, _, kept = forward(x, positives, 25.0, 1.0, 0, factors)
    share = torch.full_like(lse, 1 / 129)
    found = backward(x, positives, lse, share, -share, kept, 25.0, 1.0, factors, labels, share / 2).cpu().double()
    # Across the rows, as the gradient of what was normalised: along them is what the roundings of a softmax come to.
    across = [g - (g * unit).sum(dim=1, keepdim=True) * unit for g in (found, plain, truth)]
    bound = 2 * torch.finfo(torch.float32).eps * 25 + rounding_of_weights(dtype)
    assert (across[0] - across[2]).norm() <= 2 * (across[1] - across[2]).norm() + bound * across[2].norm()
