"""MatryoshkaLoss: sums over prefixes, whatever the loss takes."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import assert_compiles, with_grads

from sslfast.losses import CLIPLoss, CrossBatchMemory, InfoNCELoss, MatryoshkaLoss, NTXentLoss, SupConLoss
from sslfast.reference.clip import clip_loss as clip_reference
from sslfast.reference.nt_xent import nt_xent_loss as reference


def test_against_the_reference(device: torch.device) -> None:
    dtype = torch.float64 if device.type == "cpu" else torch.float32
    z0, z1 = torch.randn(2, 9, 12, dtype=dtype)
    dims, weights = (3, 8, 12), (1.0, 0.5, 2.0)

    def expected(a, b):
        return sum(w * reference(a[:, :d], b[:, :d], 0.3) for d, w in zip(dims, weights, strict=True))

    criterion = MatryoshkaLoss(NTXentLoss(0.3), dims, weights)
    found = with_grads(criterion, z0.to(device), z1.to(device))
    for f, g in zip(found, with_grads(expected, z0.double(), z1.double()), strict=True):
        torch.testing.assert_close(f.cpu(), g.to(dtype))
    assert_compiles(criterion, z0, z1)
    assert "dims=(3, 8, 12)" in repr(criterion)


def test_arguments_that_are_no_embeddings_go_on_as_they_are() -> None:
    z0, z1 = torch.randn(2, 6, 8, dtype=torch.float64)
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    criterion = MatryoshkaLoss(CLIPLoss(normalize=True), (4, 8))
    expected = sum(clip_reference(z0[:, :d], z1[:, :d], scale, normalize=True) for d in (4, 8))
    torch.testing.assert_close(criterion(z0, z1, scale), expected)
    torch.testing.assert_close(
        torch.autograd.grad(criterion(z0, z1, scale), scale), torch.autograd.grad(expected, scale)
    )
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    supcon = SupConLoss(0.2)
    torch.testing.assert_close(MatryoshkaLoss(supcon, [5])(z0, labels), supcon(z0[:, :5], labels))
    hard = torch.randn(6, 3, 8, dtype=torch.float64)
    info_nce = InfoNCELoss(0.2)
    found = MatryoshkaLoss(info_nce, [4, 8])(z0, z1, hard, in_batch=True)
    expected = sum(info_nce(z0[:, :d], z1[:, :d], hard[..., :d], in_batch=True) for d in (4, 8))
    torch.testing.assert_close(found, expected)


def test_embeddings_by_keyword_are_cut_too() -> None:
    z0, z1, bank, ref = torch.randn(4, 6, 8, dtype=torch.float64)
    y, ref_y = torch.randint(0, 3, (2, 6))
    info_nce, supcon = InfoNCELoss(0.2), SupConLoss(0.2)
    expected = sum(info_nce(z0[:, :d], z1[:, :d], queue=F.normalize(bank[:, :d], dim=1)) for d in (4, 8))
    torch.testing.assert_close(MatryoshkaLoss(info_nce, [4, 8])(z0, z1, negative_keys=bank), expected)
    expected = sum(supcon(z0[:, :d], y, ref_emb=ref[:, :d], ref_labels=ref_y) for d in (4, 8))
    torch.testing.assert_close(MatryoshkaLoss(supcon, [4, 8])(z0, y, ref_emb=ref, ref_labels=ref_y), expected)

    def weighted(z, *, w):
        return (z.sum(dim=1) * w).sum()

    w = torch.randn(3, 6, dtype=torch.float64)  # of another width: no embedding
    torch.testing.assert_close(MatryoshkaLoss(weighted, [4])(z0, w=w), weighted(z0[:, :4], w=w))


def test_every_argument_by_keyword() -> None:
    z0, z1 = torch.randn(2, 6, 8, dtype=torch.float64)
    clip = CLIPLoss(normalize=True)
    found = MatryoshkaLoss(clip, [4, 8])(logit_scale=5.0, image_features=z0, text_features=z1)
    torch.testing.assert_close(found, clip(z0[:, :4], z1[:, :4], 5.0) + clip(z0, z1, 5.0))
    with pytest.raises(TypeError, match=r"^MatryoshkaLoss: loss must return a tensor, got dict$"):
        MatryoshkaLoss(clip, [4, 8])(z0, z1, 5.0, output_dict=True)


def test_in_a_cross_batch_memory() -> None:
    memory = CrossBatchMemory(MatryoshkaLoss(SupConLoss(), (2, 4)), 8, 16)
    memories = [CrossBatchMemory(SupConLoss(), d, 16) for d in (2, 4)]
    for _ in range(3):
        z, y = torch.randn(6, 8), torch.randint(0, 3, (6,))
        torch.testing.assert_close(memory(z, y), sum(m(z[:, : m.embedding_size], y) for m in memories))


LOSS = NTXentLoss()
MADE = [
    ([None, [4]], TypeError, "loss must be callable, got NoneType"),
    ([LOSS, []], ValueError, "dims must hold at least one length, got []"),
    ([LOSS, 5], TypeError, "dims must be a sequence of ints, got int"),
    ([LOSS, [5], 1.0], TypeError, "weights must be a sequence of numbers, got float"),
    ([LOSS, [0]], ValueError, "dims must be at least 1, got 0"),
    ([LOSS, [1.5]], TypeError, "dims must be an int, got float"),
    ([LOSS, [1, 2], [1.0]], ValueError, "weights must be 2, one for each of dims, got 1"),
    ([LOSS, [1], ["x"]], TypeError, "weights must be a number, got str"),
]
Z = torch.ones(3, 8)
CALLED = [
    ([None, Z], TypeError, "the first argument must be a floating-point tensor, got NoneType"),
    ([Z.long(), Z], TypeError, "the first argument must be a floating-point tensor, got torch.int64"),
    ([Z.to_sparse(), Z], TypeError, "the first argument must be a plain strided tensor, got one of torch.sparse_coo"),
    ([Z, Z.to_sparse()], TypeError, "embeddings must be a plain strided tensor, got one of torch.sparse_coo"),
    ([Z, Z[:, :5]], ValueError, "embeddings must have width 8, like the first, got 5"),
    ([Z[:, :3], Z[:, :3]], ValueError, "embeddings must be at least 4 wide, got 3"),
]


def test_a_queue_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^MatryoshkaLoss: queue must be given as negative_keys, whose prefixes .*$"):
        MatryoshkaLoss(InfoNCELoss(), [2, 4])(Z, Z, queue=Z)


def test_a_sparse_tensor_by_keyword() -> None:
    text = "MatryoshkaLoss: negative_keys must be a plain strided tensor, got one of torch.sparse_coo"
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        MatryoshkaLoss(InfoNCELoss(), [2, 4])(Z, Z, negative_keys=Z.to_sparse())


@pytest.mark.parametrize(("args", "error", "text"), MADE, ids=[b[2] for b in MADE])
def test_errors(args, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"MatryoshkaLoss: {text}") + "$"):
        MatryoshkaLoss(*args)


@pytest.mark.parametrize(("args", "error", "text"), CALLED, ids=[b[2] for b in CALLED])
def test_errors_at_the_call(args, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"MatryoshkaLoss: {text}") + "$"):
        MatryoshkaLoss(LOSS, [2, 4])(*args)
