"""wav2vec 2.0's losses by definition (Baevski et al., 2020, section 3.2)."""

from __future__ import annotations

from torch import Tensor

from sslfast.reference.sampled_softmax import sampled_softmax


def wav2vec2_contrastive_loss(
    context: Tensor,
    targets: Tensor,
    mask: Tensor,
    negatives: Tensor,
    codes: Tensor | None = None,
    *,
    temperature: float = 0.1,
) -> Tensor:
    """(R,) losses of the masked frames, in the order of the mask.

    Args:
        context: (B, T, D), any floating dtype.
        targets: (B, T, D).
        mask: bool (B, T).
        negatives: (B, T, K) integers, flat positions.
        codes: (B, T, G): they, and not the targets' numbers, say which distractors are the target.
        temperature: what cosines are divided by.
    """
    at = mask.flatten().nonzero().flatten()
    return sampled_softmax(
        context.flatten(0, 1)[at],
        targets.flatten(0, 1),
        at,
        negatives.flatten(0, 1)[at],
        codes=None if codes is None else codes.flatten(0, 1),
        scale=1 / temperature,
        cosine=True,
        values=codes is None,
    )


def diversity_loss(perplexity: Tensor, num_codevectors: int) -> Tensor:
    """The part of the codes that a batch does not use."""
    return (num_codevectors - perplexity) / num_codevectors
