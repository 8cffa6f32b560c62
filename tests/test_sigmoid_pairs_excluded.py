"""sigmoid_pairs with ids, limits and smoothing: C++ on the CPU and Triton (interpreted, or native with -m gpu)."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
import torch.nn.functional as F
from gpu_operators import use_launchers, use_several_strips
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.losses import siglip_loss
from sslfast.reference.siglip import siglip_loss as loss_reference
from sslfast.reference.sigmoid_pairs import sigmoid_pairs

# N, M, D, scale, bias
CASES = [
    pytest.param(5, 3, 1, -4.0, 1.0, id="negative scale, D = 1"),
    pytest.param(70, 150, 24, 10.0, -10.0, id="more columns than rows"),
    pytest.param(150, 70, 33, 200.0, -10.0, id="more rows than columns, steep"),
    pytest.param(66, 35, 300, 0.0, -1.0, id="a scale of 0"),
]
CPU_CASES = [pytest.param(600, 700, 20, 14.0, -12.0, id="several tiles in rows and columns")]
HALF = [torch.bfloat16, torch.float16]
WAYS = [(dtype, way) for dtype in (torch.float32, *HALF) for way in (False, True)]  # dtype, in registers


def clear_limits(similarities: Tensor) -> Tensor:
    """A limit for every row in the widest gap of the upper half of its similarities, which rounding does not cross."""
    upper = similarities.sort(dim=1).values[:, similarities.shape[1] // 2 :]
    widest = upper.diff(dim=1).argmax(dim=1, keepdim=True)
    return ((upper.gather(1, widest) + upper.gather(1, widest + 1)) / 2).squeeze(1)


OPTIONS = ["ids", "limits", "ids and limits", "smoothing", "ids, limits, smoothing"]
# The interpreter is slow: options one by one in one case alone.
INTERPRETED = [
    pytest.param(tuple(case.values), option, id=f"{case.id}-{option}")
    for case in CASES
    for option in (OPTIONS if case is CASES[1] else OPTIONS[2::2])
]


def check(function, case, excluded: str, dtype: torch.dtype, device: torch.device) -> None:
    size, length, dim, scale, bias = case
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    rows, columns = (F.normalize(torch.randn(n, dim, dtype=torch.float64), dim=1).to(dtype) for n in (size, length))
    positives = torch.randperm(max(size, length))[:size]  # any column at most once, and none for some rows
    positives = torch.where(positives < length, positives, -1)
    ids: list[Tensor | None] = [torch.randint(4, (n,)) for n in (size, length)]
    limits: Tensor | None = clear_limits(rows.double() @ columns.double().T).to(wide)
    ids = ids if "ids" in excluded else [None, None]
    limits = limits if "limits" in excluded else None
    smoothing = 0.2 if "smoothing" in excluded else 0.0

    def by_definition(to: torch.dtype) -> list[Tensor]:
        leaves = [rows.to(to), columns.to(to), torch.tensor(scale, dtype=to), torch.tensor(bias, dtype=to)]
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        of_rows = None if limits is None else limits.to(to)
        loss = sigmoid_pairs(leaves[0], leaves[1], positives, leaves[2], leaves[3], *ids, of_rows, smoothing) / size
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    truth, same = by_definition(torch.float64), by_definition(wide)
    numbers = [torch.tensor([x], dtype=wide, device=device) for x in (scale, bias)]
    inputs = (rows.to(device), columns.to(device), positives.to(device), *numbers)
    options = [None if x is None else x.to(device) for x in (None, None, *ids, limits)]
    eps = torch.finfo(wide).eps
    rounding = max(16 * eps * max(abs(scale), 1), torch.finfo(dtype).eps)  # half types round the weights
    reach = 16 * eps * max(abs(scale), 10) * truth[0].abs().item() + 1e-300
    for needs in ((True, True), (True, False), (False, True), (False, False)):
        results = function(*inputs, 1 / size, *needs, *options, smoothing)
        needed = (True, *needs, True, True)
        for found, s, t, need in zip(results, same, truth, needed, strict=True):
            assert found.shape == (t.shape if need else (0, dim))
            if need:
                assert_no_worse(found, s, t, rounding * t.abs().amax().item() if t.dim() else reach)


@pytest.mark.parametrize("excluded", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES + CPU_CASES], ids=[p.id for p in CASES + CPU_CASES])
def test_cpu_against_the_definition(case, dtype: torch.dtype, excluded: str) -> None:
    check(ops.sigmoid_pairs, case, excluded, dtype, torch.device("cpu"))


@pytest.mark.parametrize(("dtype", "in_registers"), WAYS)
@pytest.mark.parametrize(("case", "excluded"), INTERPRETED)
@pytest.mark.usefixtures("rounded_weights")
def test_triton_against_the_definition(case, excluded, dtype, in_registers, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.sigmoid_pairs import sigmoid_pairs as launcher

    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    monkeypatch.setattr(_launch, "similarity_run", lambda programs, size, block: block)  # several runs
    use_several_strips(monkeypatch, (64, 128))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of exp in lanes that are masked afterwards
        check(launcher, case, excluded, dtype, triton_device)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
def test_siglip_through_the_launchers(dtype: torch.dtype, monkeypatch) -> None:
    """Rows that are multiplied as they are, with factors that normalise them, and every option."""
    images = torch.randn(40, 32)
    texts, hard = images + torch.randn(40, 32), (images.unsqueeze(1) + torch.randn(40, 3, 32)).to(dtype)
    leaves = [z.to(dtype).requires_grad_() for z in (images, texts)]
    wide = [z.detach().double().requires_grad_() for z in leaves]
    unit = [F.normalize(z.detach(), dim=1) for z in wide]
    similar = unit[0] @ unit[1].T
    over = (similar - similar.diagonal().unsqueeze(1)).flatten().sort().values
    over = over[(over > -0.6) & (over < -0.4)]
    margin = float(over[over.diff().argmax() :][:2].mean())
    ids = torch.arange(40) % 30
    options = {"normalize": True, "margin": margin, "image_ids": ids, "text_ids": ids, "label_smoothing": 0.1}
    use_launchers(monkeypatch)
    found = siglip_loss(*leaves, 8.0, -4.0, negative_keys=hard, **options)
    expected = loss_reference(*wide, 8.0, -4.0, negative_keys=hard.double(), **options)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    for k, g in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, wide), strict=True):
        assert (k.double() - g).norm() <= 0.26 * torch.finfo(dtype).eps * g.norm()


def test_columns_alone_of_wide_half_types_take_strips_where_some_are_left_out() -> None:
    from sslfast.kernels._sigmoid_launch import sigmoid_in_registers

    for excluded in (False, True):
        found = [
            sigmoid_in_registers(512, 512, 512, 2, *needs, excluded=excluded) for needs in ((1, 1), (1, 0), (0, 1))
        ]
        assert found == [True, True, not excluded]
        assert sigmoid_in_registers(512, 512, 256, 2, False, True, excluded=excluded)


def test_opcheck() -> None:
    rows, columns, positives = torch.randn(9, 3), torch.randn(7, 3), torch.tensor([*range(7), -1, -1])
    numbers = torch.tensor([2.0]), torch.tensor(-1.0)
    left_out = (None, None, torch.arange(9) % 4, torch.arange(7) % 4, torch.randn(9))
    check_op = functools.partial(torch.library.opcheck, raise_exception=True)
    check_op(ops.sigmoid_pairs, (rows, columns, positives, *numbers, 0.5, True, True, *left_out, 0.1))


def test_ids_and_limits_of_the_wrong_kind() -> None:
    rows, positives, number = torch.randn(4, 3), torch.arange(4), torch.tensor([1.0])
    operands, ids = (rows, rows, positives, number, number, 1.0, True, True, None, None), torch.arange(4)
    for left_out in ((ids, None, None), (ids, ids[:3], None), (ids.int(), ids.int(), None)):
        with pytest.raises(RuntimeError, match="row_ids and col_ids must be int64"):
            ops.sigmoid_pairs(*operands, *left_out)
    with pytest.raises(RuntimeError, match="row_limits must be"):
        ops.sigmoid_pairs(*operands, None, None, torch.zeros(4, dtype=torch.float64))
