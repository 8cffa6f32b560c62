"""queue_pairs, losses of queries beside a queue in one operator: against the definition, and what it leaves to tiles.

tests/test_loss_regimes.py has the loss that is made of it, with and without.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import with_grads
from oracle import assert_no_worse
from test_few_pairs import Operators
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from sslfast import ops
from sslfast.losses import MemoryBank, NTXentLoss, info_nce_loss
from sslfast.losses._few_pairs import beside_queue
from sslfast.reference.queue_pairs import queue_pairs as reference

# N, K, D, scale: one of each; a negative scale; panels of the products half full; a queue in several tiles; a queue,
# and products, that bf16 is not widened for; steep, where exp of one logit is 0 beside another's; rows in two tiles;
# several of both.
SIZES = [
    (1, 1, 5, 2.0),
    (3, 7, 2, -4.0),
    (33, 65, 33, 10.0),
    (9, 600, 24, 14.0),
    (20, 1100, 64, 5.0),
    (280, 240, 64, 5.0),
    (40, 90, 16, 200.0),
    (1030, 12, 9, 10.0),
    (1030, 300, 9, 10.0),
]


def inputs(size: int, length: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    query = torch.randn(size, width, dtype=torch.float64)
    queue = F.normalize(torch.randn(length, width, dtype=torch.float64), dim=1)
    return query.to(dtype), (query + 0.5 * torch.randn(size, width)).to(dtype), queue.to(dtype)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("size", "length", "width", "scale"), SIZES)
def test_against_the_definition(
    normalize: bool, dtype: torch.dtype, size: int, length: int, width: int, scale: float
) -> None:
    query, keys, queue = inputs(size, length, width, dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    eps, share = torch.finfo(wide).eps, 0.7 / size

    def by_definition(to: torch.dtype) -> list[Tensor]:
        leaves = (query.to(to), keys.to(to), torch.tensor(scale, dtype=to))
        return with_grads(lambda q, k, s: reference(q, k, queue.to(to), s, share, normalize), *leaves)

    truth, same = by_definition(torch.float64), by_definition(wide)
    number = torch.tensor(scale, dtype=wide)
    norms = 1.0 if normalize else max(z.double().norm(dim=1).max().item() for z in (query, keys)) ** 2
    reach = 16 * eps * max(abs(scale) * norms, 10)
    rounds = dtype == torch.bfloat16 and max(queue.numel(), size * queue.numel() >> 6) > 2**16  # the mean's weights
    for needs in ((True, True, True), (True, False, False), (False, True, False), (False, False, True), [False] * 3):
        found = ops.queue_pairs(query, keys, queue, number, 0.0, share, normalize, *needs)
        expected = [(s, t) for s, t, want in zip(same, truth, (True, *needs), strict=True) if want]
        for f, (s, t) in zip(found, expected, strict=True):
            assert f.dtype == wide
            largest = t.abs().amax(dim=1, keepdim=True) if t.dim() == 2 else t.abs()
            rounding = 2.0**-9 if rounds and f is not found[0] else 0.0
            assert_no_worse(f, s, t, (reach + rounding) * torch.maximum(largest, t.abs().max() * 0.1) + 4e-37)


def test_numbers_need_no_tensors() -> None:
    given, needs = inputs(7, 9, 5, torch.float32), (True, True, False)
    found = ops.queue_pairs(*given, torch.tensor([4.0], dtype=torch.bfloat16), 0.0, 0.5, True, *needs)
    for f, g in zip(found, ops.queue_pairs(*given, None, 4.0, 0.5, True, *needs), strict=True):
        assert torch.equal(f, g)


def test_any_strides_and_several_types() -> None:
    query, keys, queue = inputs(9, 11, 6, torch.float64)
    rest = (None, 3.0, 1.0, True, True, True, False)
    expected = ops.queue_pairs(query, keys, queue, *rest)
    strided = torch.stack([query, -query], dim=-1).flatten(-2)[..., ::2]
    found = ops.queue_pairs(strided, keys.T.contiguous().T, queue.T.contiguous().T, *rest)
    for f, g in zip(found, expected, strict=True):
        torch.testing.assert_close(f, g, rtol=1e-12, atol=1e-12)
    for narrow in (torch.float32, torch.bfloat16, torch.float16):
        small = queue.to(narrow)
        for f, g in zip(
            ops.queue_pairs(query, keys, small, *rest),
            ops.queue_pairs(query, keys, small.double(), *rest),
            strict=True,
        ):
            assert torch.equal(f, g)
        for f, g in zip(
            ops.queue_pairs(query.to(narrow), keys.to(narrow), queue.float(), *rest),
            ops.queue_pairs(query.to(narrow).float(), keys.to(narrow).float(), queue.float(), *rest),
            strict=True,
        ):
            assert torch.equal(f, g)


def test_results_do_not_depend_on_the_threads() -> None:
    given = inputs(600, 700, 40, torch.float32)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(ops.queue_pairs(*given, torch.tensor(5.0), 0.0, 0.1, True, True, True, True))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_opcheck() -> None:
    for needs in ((True, True, True), (False, True, False)):
        arguments = (*inputs(5, 6, 4, torch.float32), torch.tensor(3.0), 0.0, 0.2, True, *needs)
        torch.library.opcheck(ops.queue_pairs, arguments)


def test_wrong_arguments_are_refused() -> None:
    rows, rest = torch.ones(3, 2), (2.0, 1.0, True, True, True, False)
    for arguments in (
        (rows, rows[:2], rows, None, *rest),
        (rows, rows, rows[:, :1], None, *rest),
        (rows, rows, rows[:0], None, *rest),
        (rows, rows, rows, torch.ones(2), *rest),
        (rows, rows, rows, None, 2.0, 0.0, *rest[2:]),
        (rows, rows, rows.long(), None, *rest),
    ):
        with pytest.raises(RuntimeError):
            ops.queue_pairs(*arguments)


def test_a_queue_alone_is_one_operator() -> None:
    query, keys, queue = inputs(300, 5, 3, torch.float32)
    query.requires_grad_()
    for expected, options in (
        (True, {}),
        (True, {"reduction": "sum", "temperature": torch.tensor(0.2)}),
        (False, {"reduction": "none"}),
        (False, {"in_batch": True}),
        (False, {"weights": torch.ones(300)}),
        (False, {"margin": 0.1}),
        (False, {"label_smoothing": 0.1}),
    ):
        with Operators() as operators:
            info_nce_loss(query, keys, queue=queue, **options).sum().backward()
        assert (operators.names == ["queue_pairs"]) == expected, options
    with Operators() as operators:
        NTXentLoss(memory_bank_size=(4, 3))(query, keys).backward()
    assert operators.names == ["queue_pairs"]
    with Operators() as operators, torch.no_grad():
        assert not info_nce_loss(query, keys, queue=queue).requires_grad
    assert operators.names == ["queue_pairs"]
    assert not torch.compile(lambda a: a + int(beside_queue(a)), backend="eager")(torch.zeros(3, 2)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("normalize", [True, False])
def test_it_is_what_tiles_make(monkeypatch, normalize: bool, dtype: torch.dtype) -> None:
    query, keys, queue = inputs(20, 90, 12, dtype)
    leaves = (query, keys, torch.tensor([0.3], dtype=dtype))

    def loss(q: Tensor, k: Tensor, t: Tensor) -> Tensor:
        return info_nce_loss(q, k, queue=queue, temperature=t, normalize=normalize)

    found = with_grads(loss, *leaves)
    monkeypatch.setattr("sslfast.losses._info_nce_plain.beside_queue", lambda query: False)
    for f, g in zip(found, with_grads(loss, *leaves), strict=True):
        bound = 64 * torch.finfo(dtype).eps
        torch.testing.assert_close(f, g, rtol=bound, atol=bound * g.abs().max().item())


def test_fake_tensors_have_a_backward() -> None:
    with FakeTensorMode():
        query, queue = torch.empty(6, 4, requires_grad=True), torch.empty(9, 4)
        for beside in (queue, None):
            (grad,) = torch.autograd.grad(info_nce_loss(query, torch.empty(6, 4), queue=beside), query)
            assert grad.shape == query.shape


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_reads_the_queue_that_it_is_given() -> None:
    traced = torch.jit.trace(
        lambda q, k, queue: info_nce_loss(q, k, queue=queue), inputs(6, 9, 4, torch.float32), check_trace=False
    )
    query, keys, queue = inputs(6, 9, 4, torch.float32)
    torch.testing.assert_close(traced(query, keys, queue), info_nce_loss(query, keys, queue=queue))


def test_the_queue_and_a_locked_key_may_change_before_backward() -> None:
    query, keys, queue = inputs(6, 8, 4, torch.float32)
    query.requires_grad_()
    (expected,) = torch.autograd.grad(info_nce_loss(query, keys, queue=queue), query)
    bank = MemoryBank((8, 4))
    bank.bank.copy_(queue)
    loss = info_nce_loss(query, keys, queue=bank.bank)
    bank.enqueue(torch.zeros(3, 4))
    keys.zero_()
    loss.backward()
    assert torch.equal(query.grad, expected)


@pytest.mark.parametrize("length", [9, 4000])  # widened, and multiplied as bf16 where the CPU does
def test_a_norm_beyond_float32_makes_a_row_of_zeros(length: int) -> None:
    query, keys, queue = inputs(5, length, 24, torch.bfloat16)
    query[2] = 3e38
    losses = [z.double() for z in (query, keys, queue)]
    losses[0][2] = 0.0
    found = info_nce_loss(query, keys, queue=queue, temperature=0.5)
    expected = reference(*losses, 2.0, 0.2, True)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0.0)


def test_an_infinite_feature_is_no_perfect_pair() -> None:
    query, keys, queue = torch.eye(4), torch.full((4, 4), 0.5), -torch.eye(4)
    query[1, 1] = torch.inf
    for needed in (False, True):
        assert info_nce_loss(query.clone().requires_grad_(needed), keys, queue=queue, normalize=False).isnan()
    assert info_nce_loss(keys, keys, queue=torch.full((2, 4), torch.nan)).isnan()
