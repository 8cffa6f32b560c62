"""CrossBatchMemory against pytorch-metric-learning and its promises, and copies, the argument it gives the losses."""

from __future__ import annotations

import inspect
import re

import pytest
import torch
from loss_oracle import with_grads
from peer_oracle import peer
from torch import Tensor

from sslfast.losses import (
    ContrastiveLoss,
    CrossBatchMemory,
    MultiPositiveNTXentLoss,
    NTXentLoss,
    SupConLoss,
    TripletLoss,
)

LOSSES = {
    "SupConLoss": lambda: SupConLoss(0.2),
    "NTXentLoss": lambda: MultiPositiveNTXentLoss(0.2),
    "TripletMarginLoss": lambda: TripletLoss(0.3),
    "ContrastiveLoss": lambda: ContrastiveLoss(-0.1, 1.2),  # a copy at distance 0 counts
}
THEIRS = {
    "SupConLoss": {"temperature": 0.2},
    "NTXentLoss": {"temperature": 0.2},
    "TripletMarginLoss": {"margin": 0.3},
    "ContrastiveLoss": {"pos_margin": -0.1, "neg_margin": 1.2},
}
OURS = [*LOSSES.values(), lambda: TripletLoss(0.3, mining="batch_hard"), lambda: TripletLoss(0.3, mining="semi_hard")]


def batch(count: int = 6, width: int = 4, labels: int = 3) -> tuple[Tensor, Tensor]:
    """Embeddings that float32, in which they are stored, does not round."""
    return torch.randn(count, width).double(), torch.randint(0, labels, (count,))


# ---- copies


@pytest.mark.parametrize("make", OURS)
@pytest.mark.parametrize("labels", [3, 9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_copies_of_the_batch_are_the_batch(make, labels: int, dtype: torch.dtype) -> None:
    z, y = batch(20, labels=labels)
    z = z.to(dtype)
    order = torch.randperm(20)
    criterion = make()
    copies = order.argsort()
    expected = criterion(z, y)
    torch.testing.assert_close(criterion(z, y, ref_emb=z[order], ref_labels=y[order], copies=copies), expected)
    if labels == 9:  # some are alone: their copies would be their only positives
        some = torch.where(copies % 3 == 0, -1, copies)
        assert criterion(z, y, ref_emb=z[order], ref_labels=y[order], copies=some) != expected
    none = criterion(z, y, ref_emb=z[order], ref_labels=y[order], copies=torch.full_like(copies, -1))
    torch.testing.assert_close(none, criterion(z, y, ref_emb=z[order], ref_labels=y[order]))


@pytest.mark.parametrize("make", OURS)
@pytest.mark.parametrize("labels", [3, 9])
def test_gradients_with_copies(make, labels: int) -> None:
    y, ry = torch.randint(0, labels, (7,)), torch.randint(0, labels, (12,))
    copies = torch.tensor([3, -1, 0, 11, -1, 5, 6])
    ry[copies[copies >= 0]] = y[copies >= 0]
    z, r = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (7, 12))
    criterion = make()

    def loss(z: Tensor, r: Tensor) -> Tensor:
        return criterion(z, y, ref_emb=r, ref_labels=ry, copies=copies)

    assert torch.autograd.gradcheck(loss, (z, r))
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for a, b in zip(with_grads(compiled, z, r), with_grads(loss, z, r), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("make", OURS)
@pytest.mark.parametrize("grad", [False, True])
def test_a_copy_of_another_label_is_no_negative(make, grad: bool) -> None:
    (z, y), (other, other_y) = batch(1), batch(12)
    references, labels = torch.cat([other, z]), torch.cat([other_y, y + 1])
    found = make()(z, y, ref_emb=references.requires_grad_(grad), ref_labels=labels, copies=torch.tensor([12]))
    torch.testing.assert_close(found, make()(z, y, ref_emb=other, ref_labels=other_y))
    if grad:
        (of_references,) = torch.autograd.grad(found, references)
        assert not of_references[12].any()


@pytest.mark.parametrize("make", OURS)
def test_the_batch_may_be_its_own_reference(make) -> None:
    z, y = batch(12)
    criterion, copies = make(), torch.arange(12)

    def loss(z: Tensor) -> Tensor:
        return criterion(z, y, ref_emb=z, ref_labels=y, copies=copies)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    expected = with_grads(lambda z: criterion(z, y), z)
    for a, b, c in zip(with_grads(loss, z), with_grads(compiled, z), expected, strict=True):
        torch.testing.assert_close(a, c)
        torch.testing.assert_close(b, c)


Z, Y = torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)
RANGE = "copies must be in [-1, 3], rows of ref_emb, got "
BAD_COPIES = [
    ({"copies": Y}, ValueError, "ref_emb must be given with copies, got None"),
    ({"ref_emb": Z, "ref_labels": Y, "copies": [1]}, TypeError, "copies must be an integer tensor, got list"),
    ({"ref_emb": Z, "ref_labels": Y, "copies": Y[:2]}, ValueError, "copies must have shape (4,), got (2,)"),
    ({"ref_emb": Z, "ref_labels": Y, "copies": Y.int()}, TypeError, "copies must be an int64 tensor, got torch.int32"),
    ({"ref_emb": Z, "ref_labels": Y, "copies": Y + 4}, ValueError, RANGE + "4"),
    ({"ref_emb": Z, "ref_labels": Y, "copies": Y - 9}, ValueError, RANGE + "-9"),
]


@pytest.mark.parametrize("make", LOSSES.values())
@pytest.mark.parametrize(("kwargs", "error", "text"), BAD_COPIES, ids=[b[2] for b in BAD_COPIES])
def test_errors_of_copies(make, kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(f": {text}") + "$"):
        make()(Z, Y, **kwargs)


# ---- the memory


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("memory", [6, 7, 20, 1000])
def test_is_pytorch_metric_learnings(name: str, memory: int) -> None:
    losses = peer("pytorch_metric_learning.losses")
    theirs = losses.CrossBatchMemory(getattr(losses, name)(**THEIRS[name]), 4, memory)
    ours = CrossBatchMemory(LOSSES[name](), 4, memory)
    for _ in range(8):
        z, y = batch()
        expected = with_grads(lambda x: theirs(x, y), z)  # noqa: B023
        for a, b in zip(with_grads(lambda x: ours(x, y), z), expected, strict=True):  # noqa: B023
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", LOSSES)
def test_masks_are_pytorch_metric_learnings(name: str) -> None:
    losses = peer("pytorch_metric_learning.losses")
    theirs = losses.CrossBatchMemory(getattr(losses, name)(**THEIRS[name]), 4, 20)
    ours = CrossBatchMemory(LOSSES[name](), 4, 20)
    for _ in range(8):
        z, y = batch(12)
        mask = torch.arange(12) % 2 == 1
        expected = with_grads(lambda x: theirs(x, y, enqueue_mask=mask), z)  # noqa: B023
        for a, b in zip(with_grads(lambda x: ours(x, y, enqueue_mask=mask), z), expected, strict=True):  # noqa: B023
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def test_has_pytorch_metric_learnings_arguments() -> None:
    theirs = peer("pytorch_metric_learning.losses").CrossBatchMemory
    for ours, their in ((CrossBatchMemory, theirs), (CrossBatchMemory.forward, theirs.forward)):
        names = [
            [(p.name, p.default) for p in inspect.signature(f).parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
            for f in (ours, their)
        ]
        assert names[0] == names[1]


@pytest.mark.parametrize("make", OURS)
@pytest.mark.parametrize("count", [1, 3, 7, 10])
def test_holds_exactly_the_newest(make, count: int) -> None:
    memory = CrossBatchMemory(make(), 2, 7)
    embeddings, labels = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    for _ in range(6):
        z, y = torch.randn(count, 2), torch.randint(0, 2, (count,))
        loss = memory(z, y)
        embeddings, labels = torch.cat([embeddings, z])[-7:], torch.cat([labels, y])[-7:]
        stored, place = memory.stored, int(memory.memory_ptr)
        assert stored == len(embeddings)
        shift = -place if stored == 7 else 0
        assert torch.equal(memory.embedding_memory[:stored].roll(shift, 0), embeddings)
        assert torch.equal(memory.label_memory[:stored].roll(shift, 0), labels)
        copies = torch.arange(stored - count, stored)  # in order of age
        expected = make()(z, y, ref_emb=embeddings, ref_labels=labels, copies=copies.clamp_min(-1))
        torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("make", OURS)
def test_other_batches_may_come_before_backward(make) -> None:
    batches = [(torch.randn(5, 4, requires_grad=True), torch.randint(0, 2, (5,))) for _ in range(4)]
    memory, other = CrossBatchMemory(make(), 4, 12), CrossBatchMemory(make(), 4, 12)
    late = [memory(z, y) for z, y in batches]
    for loss, (z, y) in zip(late, batches, strict=True):
        now = torch.autograd.grad(other(z, y), z)[0]
        assert torch.equal(torch.autograd.grad(loss, z)[0], now)


def test_a_resumed_run_goes_on() -> None:
    memory, other = CrossBatchMemory(SupConLoss(), 4, 9), CrossBatchMemory(SupConLoss(), 4, 9)
    for _ in range(3):
        memory(*batch(4))
        other.load_state_dict(memory.state_dict())
        assert other.stored == memory.stored
        z, y = batch(4)
        saved = {key: value.clone() for key, value in memory.state_dict().items()}
        assert memory(z, y) == other(z, y)
        memory.load_state_dict(saved)
    memory.reset_queue()
    assert memory.stored == int(memory.memory_ptr) == memory.embedding_memory.abs().sum() == 0


@pytest.mark.gpu
@pytest.mark.parametrize("make", OURS)
def test_on_a_gpu_it_is_that_of_the_cpu(make) -> None:
    memories = [CrossBatchMemory(make(), 4, 20).to(device) for device in ("cpu", "cuda")]
    for _ in range(5):
        z, y = torch.randn(6, 4), torch.randint(0, 3, (6,))
        expected, found = (
            with_grads(lambda x: memory(x, y.to(x.device)), z.to(memory.embedding_memory.device))  # noqa: B023
            for memory in memories
        )
        for f, e in zip(found, expected, strict=True):
            torch.testing.assert_close(f.cpu(), e, rtol=1e-4, atol=1e-5)
    for (name, ours), theirs in zip(memories[1].named_buffers(), memories[0].buffers(), strict=True):
        assert torch.equal(ours.cpu(), theirs), name


def test_nothing_to_compare_gives_zero() -> None:
    memory = CrossBatchMemory(SupConLoss(), 4, 9)
    z, y = torch.randn(4, 4, requires_grad=True), torch.arange(4)
    nobody, all_of_them = torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    for loss in (memory(z, y, enqueue_mask=nobody), memory(z, y, enqueue_mask=all_of_them), memory(z[:0], y[:0])):
        assert loss == 0
        assert not torch.autograd.grad(loss, z, allow_unused=True)[0].any()
    assert memory.stored == 4


def test_half_precision_and_strides() -> None:
    z, y = torch.randn(12, 8).bfloat16(), torch.randint(0, 3, (12,))
    plain = CrossBatchMemory(SupConLoss(), 8, 30)(z, y)
    assert plain.dtype == torch.float32
    assert torch.equal(CrossBatchMemory(SupConLoss(), 8, 30)(z.T.contiguous().T, y.int()), plain)


M = CrossBatchMemory(SupConLoss(), 3, 5)
BAD = [
    (
        lambda: CrossBatchMemory(SupConLoss(), 3, gather_distributed="ring"),
        TypeError,
        "gather_distributed must be a bool, got 'ring'",
    ),
    (lambda: CrossBatchMemory(None, 3), TypeError, "loss must be callable, got NoneType"),
    (
        lambda: CrossBatchMemory(NTXentLoss(), 3),
        TypeError,
        "loss must take ref_emb and ref_labels, NTXentLoss does not",
    ),
    (lambda: CrossBatchMemory(SupConLoss(), 0), ValueError, "embedding_size must be at least 1, got 0"),
    (lambda: CrossBatchMemory(SupConLoss(), 3, 1.5), TypeError, "memory_size must be an int, got float"),
    (
        lambda: CrossBatchMemory(SupConLoss(), 3, 5, "hard"),
        TypeError,
        "miner must be callable or None, got str",
    ),
    (
        lambda: M(Z, Y, (Y, Y, Y)),
        ValueError,
        "indices_tuple goes with a miner, without gather_distributed and enqueue_mask",
    ),
    (lambda: M(Z[:, :2], Y), ValueError, "embeddings must have shape (N, 3), got (4, 2)"),
    (lambda: M.enqueue(Z, Y[:1]), ValueError, "labels must have shape (4,), got (1,)"),
    (lambda: M.enqueue(Z[:, :1], Y), ValueError, "embeddings must have shape (N, 3), got (4, 1)"),
    (lambda: M(Y, Y), TypeError, "embeddings must be a floating-point tensor, got torch.int64"),
    (lambda: M(Z, Y[:2]), ValueError, "labels must have shape (4,), got (2,)"),
    (lambda: M(Z, Z[:, 0]), TypeError, "labels must be an integer tensor, got torch.float32"),
    (lambda: M(Z.to("meta"), Y.to("meta")), ValueError, "embeddings must be on cpu, like the memory, got meta"),
    (lambda: M(Z, Y, enqueue_mask=Y), TypeError, "enqueue_mask must be a bool tensor, got torch.int64"),
    (lambda: M(Z, Y, enqueue_mask=[True]), TypeError, "enqueue_mask must be a bool tensor, got list"),
    (lambda: M(Z, Y, enqueue_mask=Y[:3].bool()), ValueError, "enqueue_mask must have shape (4,), got (3,)"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[b[2] for b in BAD])
def test_errors(call, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"CrossBatchMemory: {text}") + "$"):
        call()
    assert M.stored == 0  # a batch that is refused leaves no trace
    assert "embedding_size=3, memory_size=5, gather_distributed=False" in repr(M)
