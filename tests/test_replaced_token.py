"""replaced_token_loss: the definition, transformers' number, padding, small losses, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from oracle import assert_no_worse

from sslfast.losses import ReplacedTokenLoss, replaced_token_loss
from sslfast.masking import electra_inputs
from sslfast.reference.replaced_token import replaced_token_loss as by_definition


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_definition(dtype: torch.dtype) -> None:
    logits = (4 * torch.randn(5, 33, dtype=torch.float64)).to(dtype).requires_grad_()
    replaced, tokens = torch.rand(5, 33) < 0.15, torch.arange(33) < torch.randint(1, 34, (5, 1))
    wide = torch.promote_types(dtype, torch.float32)
    for mask in (tokens, tokens.long(), None):
        kept = tokens if mask is not None else torch.ones_like(tokens)
        truth, same = (by_definition(logits.to(each), replaced, kept) for each in (torch.float64, wide))
        loss = replaced_token_loss(logits, replaced, mask)
        assert_no_worse(loss, same, truth, 4 * torch.finfo(wide).eps)
        (grad,), (expected,) = (torch.autograd.grad(each, logits) for each in (loss, truth))
        torch.testing.assert_close(grad, expected)
        rows = replaced_token_loss(logits, replaced, mask, "none")
        assert rows.shape == (5, 33)
        torch.testing.assert_close(rows.sum() / kept.sum(), loss)
        torch.testing.assert_close(replaced_token_loss(logits.unsqueeze(2), replaced.float(), mask, "sum"), rows.sum())


def test_the_number_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.ElectraForPreTraining(transformers.ElectraConfig(vocab_size=50, **sizes)).eval()
    ids, mask = torch.randint(0, 50, (3, 9)), torch.arange(9) < torch.tensor([[9], [4], [1]])
    positions, sampled = torch.tensor([1, 5, 11, -1]), torch.tensor([7, 8, 9, 10])
    read, replaced = electra_inputs(ids, positions, sampled)
    theirs = model(read, attention_mask=mask.long(), labels=replaced.long())
    torch.testing.assert_close(ReplacedTokenLoss()(theirs.logits, replaced, mask), theirs.loss)


def test_padding_may_hold_anything_and_no_token_is_0() -> None:
    logits = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    replaced, mask = torch.zeros(2, 4, dtype=torch.bool), torch.tensor([[1, 1, 0, 0]] * 2)
    spoiled = torch.where(mask == 0, math.nan, logits.detach()).requires_grad_()
    loss = replaced_token_loss(spoiled, replaced, mask)
    torch.testing.assert_close(loss, replaced_token_loss(logits[:, :2], replaced[:, :2]))
    assert torch.autograd.grad(loss, spoiled)[0].isfinite().all()
    assert replaced_token_loss(spoiled, replaced).isnan()
    for none in (replaced_token_loss(logits, replaced, 0 * mask), replaced_token_loss(logits[:0], replaced[:0])):
        assert none == 0
        assert not torch.autograd.grad(none, logits)[0].any()


def test_labels_of_padding_may_be_anything() -> None:
    logits, labels = torch.randn(2, 3), torch.tensor([[0, 1, -100], [1, -100, -100]])
    mask = labels >= 0
    expected = replaced_token_loss(logits, labels == 1, mask)
    for given in (labels, torch.where(mask, labels, math.nan)):
        assert torch.equal(replaced_token_loss(logits, given, mask), expected)
    # Where nobody waits for the labels the loss says it.
    compiled = torch.compile(replaced_token_loss, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(logits, labels, mask), expected)
    assert compiled(logits, labels).isnan()


def test_small_losses_and_second_derivatives() -> None:
    loss = replaced_token_loss(torch.tensor([[-40.0, 40.0]]), torch.tensor([[False, True]]))
    torch.testing.assert_close(loss.item(), math.exp(-40.0), rtol=1e-6, atol=0.0)
    assert replaced_token_loss(torch.tensor([[1e4]]), torch.tensor([[False]])) == 1e4
    logits = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    replaced = torch.tensor([[0, 1, 0], [1, 0, 0]])
    assert torch.autograd.gradgradcheck(lambda z: replaced_token_loss(z, replaced), (logits,))


def test_compiles_and_autocast() -> None:
    logits, replaced, mask = torch.randn(3, 5).bfloat16(), torch.rand(3, 5) < 0.5, torch.rand(3, 5) < 0.7
    expected = replaced_token_loss(logits, replaced, mask)
    compiled = torch.compile(replaced_token_loss, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(logits, replaced, mask), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(replaced_token_loss(logits, replaced, mask), expected)


Z, Y = torch.randn(2, 3), torch.zeros(2, 3)
BAD = [
    ((Z.long(), Y), TypeError, "logits must be a floating-point tensor, got torch.int64"),
    ((Z[0], Y), ValueError, "logits must have shape (N, L) or (N, L, 1), got (3,)"),
    ((Z, None), TypeError, "replaced must be a tensor, got NoneType"),
    ((Z, Y[:1]), ValueError, "replaced must have shape (2, 3), like logits, got (1, 3)"),
    ((Z, Y, Y[:, :2]), ValueError, "attention_mask must have shape (2, 3), like logits, got (2, 2)"),
    ((Z, Y, Y), TypeError, "attention_mask must be bool or integers, got torch.float32"),
    ((Z, Y.long() - 100), ValueError, "replaced must be 0 or 1 for every token, got -100"),
    ((Z, Y + 0.5, Y.long() + 1), ValueError, "replaced must be 0 or 1 for every token, got 0.5"),
    ((Z, Y, None, "max"), ValueError, "reduction must be 'mean', 'sum' or 'none', got 'max'"),
]


@pytest.mark.parametrize(("args", "error", "text"), BAD)
def test_bad_input(args, error, text) -> None:
    with pytest.raises(error) as caught:
        replaced_token_loss(*args)
    assert str(caught.value) == f"replaced_token_loss: {text}"


def test_bad_reduction_of_the_module() -> None:
    with pytest.raises(ValueError, match=r"^ReplacedTokenLoss: reduction must be 'mean', 'sum' or 'none', got 'max'$"):
        ReplacedTokenLoss("max")
