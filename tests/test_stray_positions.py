"""Positions that name nothing, where nobody looks at them: the loss and its gradients say it, or the operator raises.

On the CPU the functions raise; torch.compile and a GPU cannot branch on what is in a tensor. Most cases run eagerly
with the branches of torch.compile, which is all that differs, and some are compiled.
"""

from __future__ import annotations

import pytest
import torch
from loss_oracle import with_grads
from torch import Tensor

from sslfast import ops
from sslfast.losses import (
    hubert_loss,
    linear_cross_entropy,
    masked_code_loss,
    masked_feature_loss,
    masked_item_loss,
    masked_lm_loss,
    masked_patch_loss,
    vocab_parallel_cross_entropy,
    wav2vec2_contrastive_loss,
)

N, L, D = 2, 5, 8
SEED = torch.tensor([3])
TEACHER, IMAGES, LABELS = torch.randn(N, L, D), torch.randn(N, 2, 2, 2 * L), torch.arange(N * L).view(N, L)
WEIGHT = torch.randn(N * L, D)


# Losses of predictions with one row for every place, or one for each of two ids in each of two rows.
PLACES = {
    "feature": lambda p, ids: masked_feature_loss(p, TEACHER.to(p.device), ids=ids),
    "feature, sum": lambda p, ids: masked_feature_loss(p, TEACHER.to(p.device), ids=ids, reduction="sum"),
    "feature, none": lambda p, ids: masked_feature_loss(p, TEACHER.to(p.device), ids=ids, reduction="none").sum(),
    "feature, items": lambda p, ids: masked_feature_loss(p, TEACHER.to(p.device), ids=ids, num_items=7),
    "feature, layers": lambda p, ids: masked_feature_loss(
        p, [TEACHER.to(p.device), TEACHER.to(p.device)], ids=ids, norm_layers="layer"
    ),
    "feature, instance": lambda p, ids: masked_feature_loss(p, TEACHER.to(p.device), ids=ids, norm_targets="instance"),
    "patch": lambda p, ids: masked_patch_loss(p, IMAGES.to(p.device), None, 2, ids=ids),
    "patch, normed": lambda p, ids: masked_patch_loss(
        p, IMAGES.to(p.device), None, 2, ids=ids, norm_pix=True, kind="l1"
    ),
}
# Losses of all classes, of positions and of labels.
DENSE = {
    "lm": lambda h, at: masked_lm_loss(h, WEIGHT.to(h), LABELS.to(h.device), indices=at),
    "lm, none": lambda h, at: masked_lm_loss(
        h, WEIGHT.to(h), LABELS.to(h.device)[0, :2], indices=at, reduction="none"
    ).sum(),
    "code": lambda h, at: masked_code_loss(h, WEIGHT.to(h), LABELS.to(h.device), indices=at),
    "code, prefix": lambda h, at: masked_code_loss(
        h, WEIGHT.to(h), LABELS.to(h.device)[:, 1:], indices=at, num_prefix_tokens=1
    ),
    "item": lambda h, at: masked_item_loss(h, WEIGHT.to(h), LABELS.to(h.device), indices=at),
    "hubert": lambda h, at: hubert_loss(h, WEIGHT.to(h), LABELS.to(h.device), indices=at),
}
ALL = torch.ones(N, L, dtype=torch.bool)
LABELLED = {
    "linear": linear_cross_entropy,
    "linear, none": lambda h, w, y: linear_cross_entropy(h, w, y, reduction="none", label_smoothing=0.1).sum(),
    "linear, capped": lambda h, w, y: linear_cross_entropy(h, w, y, softcap=2.0, z_loss=0.1, label_smoothing=1.0),
    "lm": masked_lm_loss,
    "code": lambda h, w, y: masked_code_loss(h, w, y, ALL.to(h.device)),
    "item": masked_item_loss,
    "hubert": lambda h, w, y: hubert_loss(h, w, y, ALL.to(h.device)),
    "one rank's": lambda h, w, y: vocab_parallel_cross_entropy(h, w, y, reduction="none").mean(),
}
NEGATIVES = torch.zeros(N, L, 3, dtype=torch.int64)
SAMPLED = {
    "items": lambda h, at: masked_item_loss(
        h, WEIGHT.to(h.device), LABELS.to(h.device), indices=at, num_negatives=3, generator=SEED.to(h.device)
    ),
    "items, none": lambda h, at: masked_item_loss(
        h,
        WEIGHT.to(h.device),
        LABELS.to(h.device),
        indices=at,
        num_negatives=3,
        generator=SEED.to(h.device),
        reduction="none",
    ).sum(),
    "items, label": lambda h, at: masked_item_loss(
        h,
        WEIGHT.to(h.device),
        LABELS.to(h.device)[0, :2] + at,
        indices=at.clamp(0, 3),
        num_negatives=3,
        generator=SEED.to(h.device),
    ),
    "wav2vec2": lambda h, at: wav2vec2_contrastive_loss(
        h, TEACHER.to(h.device), indices=at, num_negatives=3, generator=SEED.to(h.device)
    ),
    "wav2vec2, given": lambda h, at: wav2vec2_contrastive_loss(
        h, TEACHER.to(h.device), None, NEGATIVES.to(h.device) + 1, indices=at
    ),
    "wav2vec2, negatives": lambda h, at: wav2vec2_contrastive_loss(
        h, TEACHER.to(h.device), torch.ones(N, L, dtype=torch.bool, device=h.device), at[1].expand(N, L, 2)
    ),
}


@pytest.fixture
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)


def assert_spoiled(found: list[Tensor]) -> None:
    loss, grad = found
    assert loss.isnan()
    assert grad.isnan().any()


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [L, N * L - 1, N * L, 10**12, -3])
def test_ids_that_name_no_place(name: str, dtype: torch.dtype, bad: int, nobody_looks: None, device) -> None:
    """Neither the place of another row, nor none, nor one that is not read."""
    loss, good = PLACES[name], torch.tensor([[0, -1], [3, 2]], device=device)
    ids = good.clone()
    ids[0, 1] = bad
    for pred in (*(torch.randn(N, rows, D, dtype=dtype, device=device) for rows in (L, 2)),):
        assert_spoiled(with_grads(lambda p: loss(p, ids), pred))
        for all_bad in (torch.full_like(ids, bad), ids[:, 1:].contiguous()):
            if pred.shape[1] in (L, all_bad.shape[1]):
                assert_spoiled(with_grads(lambda p, i=all_bad: loss(p, i), pred))
        assert all(z.isfinite().all() for z in with_grads(lambda p: loss(p, good), pred))
    if bad < L or bad >= N * L:
        flat = torch.tensor([7, bad], device=device)
        for shape in ((N, L, D), (2, D)):
            pred = torch.randn(shape, dtype=dtype, device=device)
            assert_spoiled(with_grads(lambda p: loss(p, flat), pred))


@pytest.mark.parametrize("bad", [L, -3])
def test_blocks_of_ids(bad: int, nobody_looks: None) -> None:
    ids = torch.tensor([[0, bad], [3, -1]])
    for blocks in ([ids], [ids.clamp(-1, 4), ids]):
        found = with_grads(
            lambda p, b=blocks: masked_feature_loss(p, TEACHER, ids=b), torch.randn(N * len(blocks), 2, D)
        )
        assert_spoiled(found)


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("bad", [-2, -7, N * L, 10**12])
def test_dense_losses_compiled_on_the_cpu(name: str, bad: int, nobody_looks: None) -> None:
    hidden, at = torch.randn(N, L, D, requires_grad=True), torch.tensor([0, -1])
    assert DENSE[name](hidden, at).isfinite()
    with pytest.raises(RuntimeError, match=r"^linear_cross_entropy: a target or an index is out of range"):
        DENSE[name](hidden, torch.tensor([0, bad]))


@pytest.fixture
def launched(nobody_looks: None, triton_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where linear_cross_entropy is the launcher."""
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy

    monkeypatch.setattr(ops, "linear_cross_entropy", linear_cross_entropy)
    return triton_device


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of infinities in lanes that are masked afterwards
def test_dense_losses_on_a_gpu(name: str, launched: torch.device) -> None:
    hidden = torch.randn(N, L, D, device=launched)
    for bad in (-2, N * L, 10**12):
        for first in (0, bad):
            at = torch.tensor([first, bad], device=launched)
            assert_spoiled(with_grads(lambda h, i=at: DENSE[name](h, i), hidden))
    at = torch.tensor([0, -1], device=launched)
    assert all(z.isfinite().all() for z in with_grads(lambda h: DENSE[name](h, at), hidden))


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_labels_that_are_no_class_on_a_gpu(name: str, dtype: torch.dtype, launched: torch.device) -> None:
    """Lest an optimizer took the step: of the hidden states and of the classes."""
    hidden = torch.randn(N, L, D, dtype=dtype, device=launched)
    for bad in (-3, N * L, 10**12, 2**32 + 1):
        labels = torch.arange(N * L, device=launched).view(N, L)
        labels[1, 2] = bad
        found = with_grads(lambda h, w, y=labels: LABELLED[name](h, w, y), hidden, WEIGHT.to(hidden))
        assert all(z.isnan().any() for z in found)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_hubert_without_frames_on_a_gpu(launched: torch.device) -> None:
    nothing, labels = torch.randn(0, L, D, device=launched), torch.zeros(0, L, dtype=torch.int64, device=launched)
    for first, spoiled in ((0, True), (-1, False)):
        at = torch.tensor([first], device=launched)
        loss, _, grad = with_grads(lambda h, w, i=at: hubert_loss(h, w, labels, indices=i), nothing, WEIGHT.to(nothing))
        assert loss.isnan() == grad.isnan().all() == spoiled


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_dense_loss_without_a_gradient_spoils_none(launched: torch.device) -> None:
    at = torch.tensor([1, 99], device=launched)

    def loss(h: Tensor) -> Tensor:
        return masked_lm_loss(h, WEIGHT.to(h.device), LABELS.to(h.device), indices=at, reduction="none")[0]

    assert all(z.isfinite().all() for z in with_grads(loss, torch.randn(N, L, D, device=launched)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("in_registers", [False, True])
@pytest.mark.parametrize(
    "bad", [150, 165, 190, 2**32 + 3]
)  # in the last tile of columns, or another column's by 32 bits
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_positives_that_are_no_column_on_a_gpu(
    dtype: torch.dtype, in_registers: bool, bad: int, triton_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a row has the gradients of one without a positive, and so have all others."""
    from sslfast.kernels import _launch
    from sslfast.kernels.cross_softmax import forward
    from sslfast.kernels.cross_softmax_backward import backward

    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    rows, beyond = (torch.randn(n, 16, device=triton_device).to(dtype) for n in (70, 300))
    columns = beyond[:150]
    scale, excluded = torch.tensor([0.5], device=triton_device), (None, None, None)
    positives = torch.arange(70, device=triton_device)
    positives[:2] = -1
    *lse, _, kept = forward(rows, columns, positives, scale, *excluded, 1.0, True, 0)
    grads = [torch.randn(n, device=triton_device) for n in (70, 150, 70)]

    def found(places: Tensor) -> tuple[Tensor, Tensor]:
        return backward(rows, columns, places, *lse, *grads, scale, *excluded, kept, True, True)

    stray = positives.clone()
    stray[:2] = bad
    for ours, expected in zip(found(stray), found(positives), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("bad", [-7, N * L, 10**12])
def test_sampled_losses(name: str, bad: int, nobody_looks: None, device) -> None:
    for first in (0, bad):
        hidden, at = torch.randn(N, L, D, device=device), torch.tensor([first, bad], device=device)
        assert_spoiled(with_grads(lambda h, i=at: SAMPLED[name](h, i), hidden))


def test_a_loss_without_a_gradient_spoils_none(nobody_looks: None) -> None:
    def loss(h: Tensor) -> Tensor:
        at = torch.tensor([1, 99])
        options = {"indices": at, "num_negatives": 3, "generator": SEED, "reduction": "none"}
        return masked_item_loss(h, WEIGHT, LABELS, **options)[0]

    assert all(z.isfinite().all() for z in with_grads(loss, torch.randn(N, L, D)))


@pytest.mark.parametrize("name", ["feature", "patch", "items", "wav2vec2"])
def test_compiled(name: str) -> None:
    of_places = name in PLACES
    ids = torch.tensor([[0, 5], [3, -1]]) if of_places else torch.tensor([0, 10])
    torch._dynamo.reset()
    compiled = torch.compile((PLACES | SAMPLED)[name], fullgraph=True, backend="aot_eager")
    assert_spoiled(with_grads(lambda p: compiled(p, ids), torch.randn(N, L, D)))
