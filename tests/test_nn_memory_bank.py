"""NNMemoryBank against the definition and lightly."""

from __future__ import annotations

import math
import re

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import Largest
from peer_oracle import peer

from sslfast import ops
from sslfast.losses import NNMemoryBank, NTXentLoss, info_nce_loss
from sslfast.losses.nn_memory_bank import _searched
from sslfast.reference.nn_memory_bank import nearest_neighbours


# N, K, D: one of one; several blocks of rows and of entries.
@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 3), (20, 33, 7), (150, 20000, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_against_the_reference(n: int, k: int, d: int, dtype: torch.dtype, device: torch.device) -> None:
    bank = NNMemoryBank((k, d)).to(device)
    bank.enqueue(torch.randn(k, d, device=device))  # not normalised
    output = torch.randn(n, d).to(device, dtype)
    found = bank(output)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.cpu(), nearest_neighbours(output.cpu().double(), bank.bank.cpu().double()).float())


@pytest.mark.parametrize("search", [ops.nearest_rows, _searched])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("n", "k", "d"), [(0, 4, 3), (1, 1, 1), (7, 33, 5), (300, 9000, 12)])
def test_the_search(search, dtype: torch.dtype, n: int, k: int, d: int) -> None:
    """Several tiles of rows and of entries; the operator of the CPU, and what a GPU runs."""
    rows, columns = torch.randn(n, d).to(dtype), torch.randn(k, d).to(dtype)
    index, similarity = search(rows, columns)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert (index.dtype, similarity.dtype) == (torch.int64, wide)
    exact = F.normalize(rows.double(), dim=1) @ F.normalize(columns.double(), dim=1).T
    assert torch.equal(index, exact.argmax(dim=1))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(similarity.double(), exact.amax(dim=1), rtol=0, atol=tolerance)
    assert torch.equal(search(rows.T.contiguous().T, columns)[0], index)


@pytest.mark.parametrize("search", [ops.nearest_rows, _searched])
def test_the_search_among_equals_and_nan(search) -> None:
    columns = torch.eye(4)[torch.arange(5000) % 4].clone()
    index, similarity = search(torch.cat([3 * torch.eye(4), torch.zeros(1, 4)]), columns)
    assert index.tolist() == [0, 1, 2, 3, 0]
    assert similarity.tolist() == [1.0, 1.0, 1.0, 1.0, 0.0]
    columns[4500, 2] = torch.nan
    columns[4700, 2] = torch.inf
    index, similarity = search(torch.eye(4), columns)
    assert index.tolist() == [4500] * 4
    assert similarity.isnan().all()


def test_opcheck_and_wrong_arguments() -> None:
    torch.library.opcheck(ops.nearest_rows, (torch.randn(3, 4), torch.randn(5, 4, dtype=torch.bfloat16)))
    for rows, columns in (
        (torch.ones(2, 3), torch.ones(2, 4)),
        (torch.ones(2, 3), torch.ones(0, 3)),
        (torch.ones(2, 3), torch.ones(3, 2).T),
        (torch.ones(3), torch.ones(2, 3)),
        (torch.ones(2, 3), torch.ones(2, 3, dtype=torch.int64)),
    ):
        with pytest.raises(RuntimeError):
            ops.nearest_rows(rows, columns)


def test_a_batch_that_fits_and_one_that_goes_on_at_the_beginning() -> None:
    bank, place = NNMemoryBank((10, 2)), 0
    expected = bank.bank.clone()
    for count in (4, 6, 3, 10, 9, 23):
        batch = torch.randn(count, 2, dtype=torch.float64)
        bank.enqueue(batch)
        for row in batch:
            expected[place], place = row, (place + 1) % 10
        assert torch.equal(bank.bank, expected)
        assert bank.bank_ptr.tolist() == [place]


def test_is_lightlys() -> None:
    torch.manual_seed(3)
    theirs = peer("lightly.models.modules").NNMemoryBankModule((24, 5))
    torch.manual_seed(3)
    ours = NNMemoryBank((24, 5))
    for step in range(8):
        output = torch.randn(8, 5)
        update = step % 3 > 0
        assert torch.equal(ours(output, update=update), theirs(output, update=update))
        assert torch.equal(ours.bank, theirs.bank)


def test_takes_its_place_in_a_loss() -> None:
    bank = NNMemoryBank((16, 4))
    p = torch.randn(6, 4, requires_grad=True)
    z = torch.randn(6, 4, requires_grad=True)
    neighbours = bank(z, update=True)
    assert not neighbours.requires_grad
    for loss in (NTXentLoss(0.1)(neighbours, p), info_nce_loss(p, neighbours, temperature=0.1, queue=bank.bank)):
        (grad,) = torch.autograd.grad(loss, p)
        assert grad.abs().sum() > 0


def test_no_row_finds_itself_before_the_next_call() -> None:
    bank = NNMemoryBank((12, 4))
    before, z = bank.bank.clone(), torch.randn(3, 4)
    assert torch.equal(bank(z, update=True), nearest_neighbours(z, before))
    assert torch.equal(bank(z), z)
    found = bank(z)
    bank.enqueue(torch.randn(12, 4))
    assert torch.equal(found, z)  # a copy


def test_equal_entries_and_rows_of_zeros() -> None:
    bank = NNMemoryBank((9000, 2))
    bank.enqueue(torch.tensor([[1.0, 0.0]]).repeat(9000, 1) * torch.arange(1, 9001)[:, None])
    assert bank(torch.tensor([[2.0, 1.0]]))[0, 0] == 1  # the first of equally near ones
    assert torch.equal(bank(torch.zeros(1, 2)), bank.bank[:1])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_give_nan(bad: float) -> None:
    bank = NNMemoryBank((10, 4))
    z = torch.randn(3, 4)
    z[1, 2] = bad
    assert bank(z).isnan().all(dim=1).tolist() == [False, True, False]
    bank.enqueue(z)
    assert not bank(torch.randn(2, 4)).isfinite().all()


def test_the_similarities_are_not_kept() -> None:
    bank, z = NNMemoryBank((20000, 8)), torch.randn(300, 8)
    with Largest() as largest:
        bank(z, update=True)
    assert largest.numel <= 2**19


def test_composes() -> None:
    bank, z = NNMemoryBank((50, 8)), torch.randn(12, 8)
    plain = bank(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(bank(z), plain)
    assert torch.equal(torch.compile(bank, fullgraph=True, backend="aot_eager")(z), plain)
    assert torch.equal(bank(z.T.contiguous().T), plain)
    other = NNMemoryBank((50, 8))
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other(z), plain)
    assert F.normalize(plain, dim=1).shape == (12, 8)


@pytest.mark.parametrize(
    ("output", "error", "text"),
    [
        ([1.0], TypeError, "output must be a floating-point tensor, got list"),
        (torch.ones(2, 3, dtype=torch.int64), TypeError, "output must be a floating-point tensor, got torch.int64"),
        (torch.ones(2, 4), ValueError, "output must have shape (N, 3), got (2, 4)"),
        (torch.ones(2, 3, device="meta"), ValueError, "output must be on cpu, like the bank, got meta"),
    ],
)
def test_errors(output, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"NNMemoryBank: {text}") + "$"):
        NNMemoryBank((5, 3))(output)
    with pytest.raises(TypeError, match=r"^NNMemoryBank: size must be a pair \(num, dim\), got 5$"):
        NNMemoryBank(5)
