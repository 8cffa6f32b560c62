"""The fused NT-Xent of the GPU, interpreted or native with -m gpu, against the definition; and its launches."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from counted_launches import Counted, Launches
from loss_oracle import assert_compiles, with_grads
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.losses.nt_xent import _FusedNTXent
from sslfast.reference.nt_xent import nt_xent_loss as reference

pytest.importorskip("triton")

from sslfast.kernels import _launch, nt_xent, nt_xent_backward, similarity_softmax


@pytest.fixture(autouse=True)
def interpreted() -> Iterator[None]:
    """On the CPU the operators are Triton's, interpreted."""
    library = torch.library.Library("sslfast", "IMPL", "CPU")
    library.impl("nt_xent_forward", nt_xent.forward)
    library.impl("nt_xent_backward", nt_xent_backward.backward)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of exp in lanes that are masked afterwards
        yield
    library._destroy()


def fused(temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda z0, z1: _FusedNTXent.apply(z0, z1, 1 / temperature)


def scaled(loss: Callable[[Tensor, Tensor], Tensor], factor: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda z0, z1: factor * loss(z0, z1)


def of_margins(temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The definition with the relative precision of small losses."""

    def loss(z0: Tensor, z1: Tensor) -> Tensor:
        rows = F.normalize(torch.cat([z0, z1]), dim=1)
        logits = (rows @ rows.T / temperature).fill_diagonal_(-math.inf)
        index = torch.arange(len(rows))
        positive = logits[index, index.roll(len(z0))]
        negatives = logits.index_put((index, index.roll(len(z0))), torch.tensor(-math.inf, dtype=logits.dtype))
        margin = negatives.logsumexp(1) - positive
        return (margin.clamp_min(0) + torch.log1p(torch.exp(-margin.abs()))).mean()

    return loss


def by_definition(temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda z0, z1: reference(z0, z1, temperature)


# N, D, temperature: one pair; odd sizes; a tile of 64 rows exactly, and more than one; positives in a tile on the
# diagonal and in others; low temperatures, where a running maximum is needed, and a negative one.
CASES = [
    (1, 4, 0.5),
    (5, 1, 0.5),
    (7, 33, 0.1),
    (32, 16, 0.2),
    (64, 128, 0.2),
    (90, 20, 0.07),
    (40, 16, 0.01),
    (9, 8, -0.5),
]


@pytest.mark.parametrize(("n", "d", "temperature"), CASES)
@pytest.mark.parametrize("in_registers", [True, False])
def test_against_the_reference(n, d, temperature, in_registers, triton_device, monkeypatch) -> None:
    monkeypatch.setattr(_launch, "similarity_in_registers", lambda *shape: in_registers)
    z = torch.randn(2, n, d)
    ours = with_grads(fused(temperature), *z.to(triton_device))
    same = with_grads(by_definition(temperature), *z)
    truth = with_grads(by_definition(temperature), *z.double())
    eps = torch.finfo(torch.float32).eps
    for k, r, g in zip(ours, same, truth, strict=True):
        assert_no_worse(k, r, g, 16 * eps * max(1.0, g.abs().max().item()) / min(1.0, abs(temperature)))


@pytest.mark.parametrize(
    ("n", "d", "temperature"), [(50, 32, 0.1), (33, 100, 0.5), (40, 16, 0.01), (20, 200, 0.1), (9, 384, 0.1)]
)
@pytest.mark.parametrize("in_registers", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("rounded_weights")
def test_half_precision_inputs(n, d, temperature, dtype, in_registers, triton_device, monkeypatch) -> None:
    monkeypatch.setattr(_launch, "similarity_in_registers", lambda *shape: in_registers)
    z = torch.randn(2, n, d).to(dtype)
    loss, *grads = with_grads(fused(temperature), *z.to(triton_device))
    truth, *true_grads = with_grads(by_definition(temperature), *z.double())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.cpu().double(), truth, rtol=1e-5, atol=0)
    for k, g in zip(grads, true_grads, strict=True):  # the weights are rounded for the product, and the gradient itself
        assert k.dtype == dtype
        assert (k.cpu().double() - g).abs().max() <= 2 * torch.finfo(dtype).eps * g.abs().max()


@pytest.mark.parametrize("d", [24, 100, 200])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_few_rows_are_rounded_once(d, dtype, triton_device) -> None:
    z0 = torch.randn(63, d)
    for n, temperature, noise in ((2, 0.5, 1.0), (40, 0.1, 0.3), (63, 0.02, 1.0)):
        z = torch.stack([z0[:n], z0[:n] + noise * torch.randn(n, d)]).to(dtype)
        factor = n / of_margins(temperature)(*z.double()).item()  # for the range of float16
        _, *grads = with_grads(scaled(fused(temperature), factor), *z.to(triton_device))
        _, *truth = with_grads(scaled(of_margins(temperature), factor), *z.double())
        for k, g in zip(grads, truth, strict=True):
            assert (k.cpu().double() - g).norm() <= 0.26 * torch.finfo(dtype).eps * g.norm()


def test_wide_rows_and_groups_of_tiles(triton_device, monkeypatch) -> None:
    forward_table = _launch.similarity_forward
    monkeypatch.setattr(_launch, "similarity_forward", lambda *shape: forward_table(*shape) | {"GROUP": 2})
    z = torch.randn(2, 70, 300)
    for temperature in (0.1, 0.01):
        ours = with_grads(fused(temperature), *z.to(triton_device))
        for k, g in zip(ours, with_grads(by_definition(temperature), *z.double()), strict=True):
            torch.testing.assert_close(k.cpu().double(), g, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("in_registers", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("rounded_weights")
def test_half_precision_of_any_norm(dtype, in_registers, triton_device, monkeypatch) -> None:
    monkeypatch.setattr(_launch, "similarity_in_registers", lambda *shape: in_registers)
    norms = torch.logspace(-4, 4, 40).unsqueeze(1)
    z = torch.stack([norms, norms.flip(0)]) * torch.randn(2, 40, 16)
    z = (z if dtype == torch.bfloat16 else z.sign() * z.abs().clamp(0.1, 1e4)).to(dtype)
    z[0, 7], z[1, 9, 3:] = 0, 0
    loss, *grads = with_grads(fused(0.1), *z.to(triton_device))
    truth, *true_grads = with_grads(by_definition(0.1), *z.double())
    torch.testing.assert_close(loss.cpu().double(), truth, rtol=1e-5, atol=0)
    for k, g in zip(grads, true_grads, strict=True):
        largest, own = g.abs().amax(dim=1, keepdim=True), torch.finfo(dtype)
        step = own.smallest_normal * own.eps
        if dtype == torch.float16:
            k, g = k.clamp(-6e4, 6e4), g.clamp(-6e4, 6e4)  # the zero row's is beyond its range
        assert ((k.cpu().double() - g).abs() <= own.eps * largest + step).all()


@pytest.mark.usefixtures("rounded_weights")
def test_small_losses_keep_their_precision(triton_device) -> None:
    z0 = torch.eye(16) + 0.01 * torch.randn(16, 16)
    z1 = z0 + 0.01 * torch.randn(16, 16)
    # The factors bring the gradients into float16's range.
    for dtype, (temperature, factor) in itertools.product(
        (torch.float32, torch.bfloat16, torch.float16), ((0.1, 1e4), (0.03, 1e12))
    ):
        views = [z.to(dtype) for z in (z0, z1)]
        on_device = [z.to(triton_device) for z in views]
        loss, *grads = with_grads(scaled(fused(temperature), factor), *on_device)
        truth, *true_grads = with_grads(scaled(of_margins(temperature), factor), *(z.double() for z in views))
        assert truth < 50
        torch.testing.assert_close(loss.cpu().double(), truth, rtol=1e-4, atol=0)
        for k, g in zip(grads, true_grads, strict=True):
            assert (k.cpu().double() - g).abs().max() <= max(4 * torch.finfo(dtype).eps, 1e-4) * g.abs().max()


def test_the_incoming_gradient_scales(triton_device) -> None:
    z0, z1 = torch.randn(2, 20, 8, device=triton_device)
    for in_registers in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_launch, "similarity_in_registers", lambda *shape, kept=in_registers: kept)
            once = with_grads(fused(0.1), z0, z1)
            thrice = with_grads(scaled(fused(0.1), -3), z0, z1)
        for a, b in zip(once, thrice, strict=True):
            torch.testing.assert_close(-3 * a, b)


@pytest.mark.parametrize("in_registers", [True, False])
def test_zero_rows_nan_and_inf(in_registers, triton_device, monkeypatch) -> None:
    monkeypatch.setattr(_launch, "similarity_in_registers", lambda *shape: in_registers)
    z0, z1 = torch.randn(2, 5, 4)
    z0[2] = 0
    ours = with_grads(fused(0.5), z0.to(triton_device), z1.to(triton_device))
    for k, g in zip(ours, with_grads(by_definition(0.5), z0.double(), z1.double()), strict=True):
        torch.testing.assert_close(k.cpu().double(), g, rtol=1e-4, atol=1e-6)
    for bad in (math.nan, math.inf):
        z1[3, 2] = bad
        for temperature in (0.5, 0.01):
            loss, grad0, grad1 = with_grads(fused(temperature), z0.to(triton_device), z1.to(triton_device))
            assert loss.isnan()
            assert grad0.isnan().any()
            assert grad1.isnan().any()


@pytest.mark.parametrize("in_registers", [True, False])
def test_pruned_gradients_are_the_same(in_registers, triton_device, monkeypatch) -> None:
    monkeypatch.setattr(_launch, "similarity_in_registers", lambda *shape: in_registers)
    z0, z1 = torch.randn(2, 41, 12, device=triton_device)
    _, grad0, grad1 = with_grads(fused(0.1), z0, z1)
    for first, expected in ((True, grad0), (False, grad1)):
        views = [z0.clone().requires_grad_(first), z1.clone().requires_grad_(not first)]
        fused(0.1)(*views).backward()
        kept, dropped = views if first else views[::-1]
        torch.testing.assert_close(kept.grad, expected, rtol=1e-4, atol=1e-7)
        assert dropped.grad is None


def test_strides_and_mixed_dtypes(triton_device) -> None:
    z0, z1 = torch.randn(2, 12, 6, device=triton_device)
    packed = with_grads(fused(0.2), z0, z1)
    strided = with_grads(fused(0.2), z0.T.contiguous().T, torch.stack([z1, z1], 2).flatten(1)[:, ::2])
    mixed = with_grads(fused(0.2), z0.bfloat16(), z1)
    rounded = with_grads(fused(0.2), z0.bfloat16().float(), z1)
    for a, b, c, d in zip(packed, strided, mixed, rounded, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(c, d.to(c.dtype))
    assert mixed[1].dtype == torch.bfloat16
    assert mixed[2].dtype == torch.float32


def test_second_derivative_is_refused(triton_device) -> None:
    z0, z1 = torch.randn(2, 4, 3, device=triton_device, requires_grad=True)
    (grad,) = torch.autograd.grad(fused(0.5)(z0, z1), z0, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^nt_xent_loss: second derivatives are not supported$"):
        (grad.square().sum() + z0.sum()).backward()


def test_compiles_in_one_graph(triton_device) -> None:
    assert_compiles(fused(0.1), *torch.randn(2, 10, 8, device=triton_device))


def test_opcheck(triton_device) -> None:
    check_op = functools.partial(torch.library.opcheck, raise_exception=True)
    for dtype in (torch.float32, torch.bfloat16):
        z0, z1 = torch.randn(2, 6, 8, device=triton_device)
        z0 = z0.to(dtype)
        check_op(ops.nt_xent_forward, (z0, z1, 2.0))
        _, *saved = ops.nt_xent_forward(z0, z1, 2.0)
        for needs in ((True, True), (True, False), (False, True)):
            check_op(ops.nt_xent_backward, (z0, z1, *saved, torch.tensor(2.0, device=triton_device), 2.0, *needs))


@pytest.mark.gpu
@pytest.mark.parametrize(("n", "d"), [(4096, 128), (2500, 128), (9000, 200)])  # one kernel, also ragged; strips
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [0.1, 0.01])
def test_sizes_of_a_gpu(n, d, dtype, temperature) -> None:
    z0 = torch.randn(n, d, device="cuda").to(dtype)
    z1 = (z0 + torch.randn_like(z0)).to(dtype)
    ours = with_grads(fused(temperature), z0, z1)
    truth = with_grads(by_definition(temperature), z0.float().cpu(), z1.float().cpu())
    rtol = max(1e-3, 0.32 * torch.finfo(dtype).eps)
    torch.testing.assert_close(ours[0].cpu(), truth[0], rtol=rtol, atol=0)
    for k, g in zip(ours[1:], truth[1:], strict=True):
        assert (k.float().cpu() - g).norm() <= rtol * g.norm()
    for first, again in zip(ours, with_grads(fused(temperature), z0, z1), strict=True):
        assert torch.equal(first, again)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_six_launches_with_backward(dtype, triton_device, monkeypatch) -> None:
    assert _launch.similarity_in_registers(2 * 4096, 128, dtype.itemsize)  # the path of the large batch is this one
    launches = Launches()
    for module in (nt_xent, nt_xent_backward, similarity_softmax):
        for name in [name for name in vars(module) if name.endswith("_kernel")]:
            monkeypatch.setattr(module, name, Counted(getattr(module, name), launches.names))
    z0, z1 = (z.requires_grad_() for z in torch.randn(2, 70, 128, dtype=dtype, device=triton_device))
    with launches:
        fused(0.1)(z0, z1).backward()
    kernels = [name for name in launches.names if name.endswith("_kernel")]
    assert len(kernels) == 5
    assert set(launches.names) - set(kernels) <= {"aten.ones_like.default"}  # the gradient of the loss
    assert len(launches.names) <= 6
