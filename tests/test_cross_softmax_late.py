"""cross_softmax late in training, where weights are small beside what they are rounded from: Triton (interpreted, or
native with -m gpu) against the definition.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from loss_regimes import Regime, problem, rounding_of_weights
from test_cross_softmax import WAYS
from torch import Tensor

from sslfast.reference.cross_softmax import cross_softmax


# Where the positive's logit is far above the negatives', the weights are 1e-6 and smaller, and differ by as much again.
@pytest.mark.parametrize(("dtype", "in_registers"), WAYS)
@pytest.mark.parametrize(("loss", "temperature"), [(1e-6, 0.04), (1e-6, 0.005), (1e-2, 0.005)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_triton_late_in_training(loss, temperature, dtype, in_registers, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.cross_softmax import forward
    from sslfast.kernels.cross_softmax_backward import backward

    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    *sides, number = problem("clip_loss", Regime(loss, temperature, 67, 80))
    leaves = [z.to(dtype).double().requires_grad_() for z in sides]
    positives = torch.arange(67)

    def by_image_and_text(row_lse: Tensor, col_lse: Tensor, positive_logits: Tensor) -> Tensor:
        return (F.softplus(row_lse - positive_logits) + F.softplus(col_lse - positive_logits)).mean() / 2

    expected = by_image_and_text(*cross_softmax(*leaves, positives, number))
    expected.backward()
    assert 0.5 < expected / loss < 2

    product = (*(z.to(dtype).to(triton_device) for z in sides), positives.to(triton_device))
    scale = number.float().reshape(1).to(triton_device)
    *results, kept = forward(*product, scale, None, None, None, 1.0, True, 0)
    results = [r.requires_grad_() for r in results]
    found = by_image_and_text(*results)
    grads = torch.autograd.grad(found, results)
    bound = 2 * torch.finfo(torch.float32).eps * number.item()
    assert abs(found.item() / expected.item() - 1) <= bound
    products = backward(*product, *(r.detach() for r in results[:2]), *grads, scale, None, None, None, kept, True, True)
    for f, leaf in zip(products, leaves, strict=True):
        assert leaf.grad is not None
        difference = number * f.cpu().double() - leaf.grad
        assert difference.norm() <= (bound + rounding_of_weights(dtype)) * leaf.grad.norm()
