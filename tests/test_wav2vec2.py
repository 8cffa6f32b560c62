"""wav2vec 2.0's losses: the numbers of transformers and fairseq, without the gathered distractors."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import (
    assert_compiles,
    assert_half_is_like_reference,
    assert_has_values_of,
    assert_like_reference,
    assert_steady,
    largest_tensor,
    with_grads,
)
from torch import Tensor

from sslfast.losses import Wav2Vec2ContrastiveLoss, diversity_loss, wav2vec2_contrastive_loss
from sslfast.masking import mask_indices, sample_negatives, time_mask
from sslfast.random import step_seed
from sslfast.reference import wav2vec2 as reference


def problem(batch: int = 3, length: int = 20, width: int = 7, negatives: int = 5, dtype: torch.dtype = torch.float32):  # type: ignore[no-untyped-def]
    """Context, targets of which some are equal, mask, distractors, codes that tell equal targets."""
    context, book = torch.randn(batch, length, width, dtype=dtype), torch.randn(6, width, dtype=dtype)
    codes = torch.randint(0, 6, (batch, length))
    mask = torch.rand(batch, length) < 0.5
    return context, book[codes], mask, sample_negatives(mask, negatives, generator=1), codes


def fairseq(context: Tensor, targets: Tensor, mask: Tensor, negatives: Tensor) -> Tensor:
    """The formula of its model and criterion: masked frames alone, logits in their own order."""
    x, y = context[mask], targets[mask]
    others = targets.flatten(0, 1)[negatives[mask].long()].transpose(0, 1)
    same = (y == others).all(-1)
    logits = torch.cosine_similarity(x, torch.cat([y[None], others]), dim=-1) / 0.1
    logits = torch.cat([logits[:1], logits[1:].masked_fill(same, -torch.inf)])
    return F.cross_entropy(logits.T, torch.zeros_like(logits[0], dtype=torch.long), reduction="sum")


def test_like_reference(device) -> None:
    for codes_given in (False, True):
        context, targets, mask, negatives, codes = problem()
        known = codes if codes_given else None
        assert_like_reference(
            functools.partial(
                wav2vec2_contrastive_loss,
                mask_time_indices=mask.to(device),
                sampled_negative_indices=negatives.to(device),
                codes=None if known is None else known.to(device),
            ),
            lambda c, q, m=mask, n=negatives, k=known: reference.wav2vec2_contrastive_loss(
                c, q, m, n, None if k is None else k[:, :, None]
            ).sum(),
            (context, targets),
            device,
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half(dtype, device) -> None:
    context, targets, mask, negatives, _ = problem()
    call = functools.partial(
        wav2vec2_contrastive_loss, mask_time_indices=mask.to(device), sampled_negative_indices=negatives.to(device)
    )
    assert_half_is_like_reference(
        call,
        lambda c, q: reference.wav2vec2_contrastive_loss(c, q, mask, negatives).sum(),
        (context.to(dtype), targets.to(dtype)),
        device,
    )


def test_values_of_fairseq() -> None:
    context, targets, mask, negatives, codes = problem(dtype=torch.float64)
    for known in (None, codes, codes[:, :, None].int()):
        call = functools.partial(
            wav2vec2_contrastive_loss, mask_time_indices=mask, sampled_negative_indices=negatives, codes=known
        )
        assert_has_values_of(lambda c, q: fairseq(c, q, mask, negatives), call, (context, targets))


def test_numbers_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16, 16),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        codevector_dim=8,
        proj_codevector_dim=8,
        num_codevectors_per_group=5,
        num_negatives=6,
    )
    model = transformers.Wav2Vec2ForPreTraining(config).eval()
    torch.nn.init.normal_(model.quantizer.codevectors)
    length = int(model._get_feat_extract_output_lengths(torch.tensor(1200)))
    mask = time_mask(2, length, mask_prob=0.5, mask_length=4, generator=0)
    negatives = sample_negatives(mask, 6, generator=1)
    out = model(torch.randn(2, 1200), mask_time_indices=mask, sampled_negative_indices=negatives)
    ours = wav2vec2_contrastive_loss(out.projected_states, out.projected_quantized_states, mask, negatives)
    torch.testing.assert_close(ours, out.contrastive_loss)
    diversity = diversity_loss(out.codevector_perplexity, 10, mask)
    torch.testing.assert_close(diversity, out.diversity_loss)
    torch.testing.assert_close(ours + 0.1 * diversity, out.loss)
    parameters = list(model.parameters())
    found, truth = (
        torch.autograd.grad(z, parameters, allow_unused=True, retain_graph=True)
        for z in (ours + 0.1 * diversity, out.loss)
    )
    for f, g in zip(found, truth, strict=True):
        assert (f is None) == (g is None)
        if f is not None:
            torch.testing.assert_close(f, g, rtol=1e-4, atol=1e-5)


def test_compact_forms_and_reductions(device) -> None:
    context, targets, mask, negatives, codes = (t.to(device) for t in problem())
    at = mask_indices(mask).indices
    short = at[: int(mask.sum())].flip(0)
    one_each = negatives.flatten(0, 1)[short.long()]
    call = functools.partial(wav2vec2_contrastive_loss, context, targets, codes=codes)
    losses = call(mask, negatives, reduction="none")
    assert losses.shape == mask.shape
    assert not losses[~mask].any()
    expected = reference.wav2vec2_contrastive_loss(
        context.cpu().double(), targets.cpu().double(), mask.cpu(), negatives.cpu(), codes.cpu()[:, :, None]
    )
    torch.testing.assert_close(losses[mask].cpu().double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        call(indices=short, sampled_negative_indices=one_each, reduction="none"), losses.flatten()[short]
    )
    for indices, others in ((at, negatives), (short, negatives.long()), (short, one_each)):
        for reduction, truth in (("sum", losses.sum()), ("mean", losses.sum() / mask.sum())):
            found = call(indices=indices, sampled_negative_indices=others, reduction=reduction)
            torch.testing.assert_close(found, truth)
    module = Wav2Vec2ContrastiveLoss(0.2, 5, "mean")
    assert torch.equal(
        module(context, targets, mask, negatives),
        wav2vec2_contrastive_loss(context, targets, mask, negatives, temperature=0.2, reduction="mean"),
    )
    assert "temperature=0.2" in repr(module)


def test_derivatives_of_single_losses() -> None:
    context, targets, mask, negatives, _ = problem(2, 6, 3, 2, torch.float64)
    inputs = (context.requires_grad_(), targets.requires_grad_())
    for reduction in ("sum", "mean", "none"):
        call = functools.partial(
            wav2vec2_contrastive_loss,
            mask_time_indices=mask,
            sampled_negative_indices=negatives,
            codes=torch.arange(12).view(2, 6),
            reduction=reduction,
        )
        assert torch.autograd.gradcheck(call, inputs)


def test_draws_are_those_of_the_masking_family() -> None:
    context, targets, mask, _, _ = problem()
    seed = step_seed(7, 3)
    ids = torch.tensor([5, 2, 9])
    negatives = sample_negatives(mask, 4, generator=seed, sample_ids=ids)
    drawn = functools.partial(wav2vec2_contrastive_loss, context, targets, generator=seed, num_negatives=4)
    expected = wav2vec2_contrastive_loss(context, targets, mask, negatives)
    assert torch.equal(drawn(mask, sample_ids=ids), expected)
    torch.testing.assert_close(drawn(indices=mask_indices(mask).indices, sample_ids=ids), expected)
    assert not torch.equal(drawn(mask), expected)
    halves = [
        wav2vec2_contrastive_loss(context[k:], targets[k:], mask[k:], generator=3, row_offset=k) for k in (0, 1, 2)
    ]
    alone = wav2vec2_contrastive_loss(context[1:2], targets[1:2], mask[1:2], generator=3, row_offset=1)
    torch.testing.assert_close(halves[1] - halves[2], alone)


def test_none_masked_one_masked_all_masked() -> None:
    context, targets, mask, _, _ = problem()
    none, one, every = torch.zeros_like(mask), torch.zeros_like(mask), torch.ones_like(mask)
    one[1, 4] = True
    for reduction in ("sum", "mean"):
        for lonely in (none, one):  # an only masked frame has no distractor
            call = functools.partial(wav2vec2_contrastive_loss, mask_time_indices=lonely, reduction=reduction)
            assert all(not z.any() for z in with_grads(call, context, targets))
        for indices in (torch.full((4,), -1), torch.zeros(0, dtype=torch.int64)):
            call = functools.partial(wav2vec2_contrastive_loss, indices=indices, reduction=reduction)
            assert all(not z.any() for z in with_grads(call, context, targets))
    negatives = sample_negatives(every, 4, generator=0)
    expected = reference.wav2vec2_contrastive_loss(context, targets, every, negatives).sum()
    torch.testing.assert_close(wav2vec2_contrastive_loss(context, targets, every, negatives), expected)
    empty = torch.randn(0, 5, 3)
    assert wav2vec2_contrastive_loss(empty, empty, torch.zeros(0, 5, dtype=torch.bool)) == 0


def test_no_distractors_at_all() -> None:
    context, targets, mask, negatives, _ = problem()
    for given in (negatives[:, :, :0], negatives[:, :, :0].int()):
        call = functools.partial(
            wav2vec2_contrastive_loss, mask_time_indices=mask, sampled_negative_indices=given, reduction="mean"
        )
        assert all(not z.any() for z in with_grads(call, context, targets))


def test_all_distractors_are_the_target() -> None:
    context, _, mask, negatives, _ = problem()
    constant = torch.ones_like(context)
    found = with_grads(
        functools.partial(wav2vec2_contrastive_loss, mask_time_indices=mask, sampled_negative_indices=negatives),
        context,
        constant,
    )
    assert all(not z.any() for z in found)


def test_what_is_not_masked_is_not_read() -> None:
    context, targets, mask, negatives, _ = problem()
    spoiled = [z.masked_fill(~mask[:, :, None], torch.nan) for z in (context, targets)]
    call = functools.partial(wav2vec2_contrastive_loss, mask_time_indices=mask, sampled_negative_indices=negatives)
    for a, b in zip(with_grads(call, *spoiled), with_grads(call, context, targets), strict=True):
        assert torch.equal(a, b)


def test_nothing_of_the_size_of_gathered_distractors_is_made() -> None:
    context, targets, mask, negatives, _ = problem(2, 50, 32, 20)
    call = functools.partial(wav2vec2_contrastive_loss, mask_time_indices=mask, sampled_negative_indices=negatives)
    assert largest_tensor(call, context, targets) <= context.numel()
    assert largest_tensor(lambda c, q: fairseq(c, q, mask, negatives), context, targets) > 9 * context.numel()


def test_tied_inputs_strides_and_scaled_gradients() -> None:
    context, targets, mask, negatives, _ = problem(dtype=torch.float64)
    call = functools.partial(wav2vec2_contrastive_loss, mask_time_indices=mask, sampled_negative_indices=negatives)
    strided = [torch.stack([z, -z], -1).flatten(-2)[..., ::2] for z in (context, targets)]
    for theirs, ours, inputs in (
        (lambda c: fairseq(c, c, mask, negatives), lambda c: call(c, c), [context]),
        (lambda c, q: fairseq(c, q, mask, negatives) * 1024, lambda c, q: call(c, q) * 1024, strided),
    ):
        for f, g in zip(with_grads(ours, *inputs), with_grads(theirs, *inputs), strict=True):
            torch.testing.assert_close(f, g, rtol=1e-10, atol=1e-9)
    mixed = with_grads(call, context.float(), targets)
    assert [z.dtype for z in mixed] == [torch.float64, torch.float32, torch.float64]


def test_steady_and_compiled() -> None:
    context, targets, mask, negatives, codes = problem()
    given = {"mask_time_indices": mask, "sampled_negative_indices": negatives}
    call = functools.partial(wav2vec2_contrastive_loss, **given, codes=codes)
    assert_steady(call, context, targets)
    assert_compiles(call, context, targets)
    seed = torch.tensor(5)
    assert_compiles(
        lambda c, q: wav2vec2_contrastive_loss(c, q, indices=mask_indices(mask).indices, generator=seed),
        context,
        targets,
    )


def test_second_derivatives_are_refused() -> None:
    context, targets, mask, _, _ = problem()
    context.requires_grad_()
    loss = wav2vec2_contrastive_loss(context, targets, mask)
    (grad,) = torch.autograd.grad(loss, context, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^wav2vec2_contrastive_loss: second derivatives are not supported$"):
        grad.sum().backward()


def test_diversity() -> None:
    perplexity = torch.tensor(40.0)
    mask = torch.tensor([[True, False], [True, True]])
    torch.testing.assert_close(diversity_loss(perplexity, 640), torch.tensor(600 / 640))
    assert torch.equal(diversity_loss(perplexity, 640), reference.diversity_loss(perplexity, 640))
    for three in (mask, 3, torch.tensor([3])):
        torch.testing.assert_close(diversity_loss(perplexity, 640, three), torch.tensor(3 * 600 / 640))
    for args, error, text in (
        ((3, 640), TypeError, "perplexity must be a floating-point tensor, got int"),
        ((torch.ones(2), 640), ValueError, "perplexity must have one element, got shape (2,)"),
        ((perplexity, 0), ValueError, "num_codevectors must be at least 1, got 0"),
        ((perplexity, 640, -1), ValueError, "num_masked must be at least 0, got -1"),
        (
            (perplexity, 640, torch.ones(2)),
            ValueError,
            "num_masked must be a bool mask or have one element, got shape (2,)",
        ),
    ):
        with pytest.raises(error) as caught:
            diversity_loss(*args)
        assert str(caught.value) == f"diversity_loss: {text}"
