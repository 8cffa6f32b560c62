"""The Gumbel quantiser by definition (Baevski et al., 2020, section 2; Jang et al., 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox

GUMBEL = 28


def gumbel_noise(numbers: Tensor, size: int, seed: int) -> Tensor:
    """(R, size) float64: -log(-log(u)) of the rows with these numbers in the draws."""
    counters = torch.arange(-(-size // 4))
    words = torch.stack([philox(seed, GUMBEL, row, counters).flatten()[:size] for row in numbers.flatten()])
    return -torch.log(-torch.log1p(-(2**32 - 0.5 - words.double()) / 2**32))


def gumbel_quantize(
    logits: Tensor, codebook: Tensor, noise: Tensor | None, temperature: float
) -> tuple[Tensor, Tensor]:
    """Quantised vectors (N, G * d) and codes (N, G).

    Args:
        logits: (N, G, V), any floating dtype.
        codebook: (G, V, d).
        noise: (N, G, V), added to the logits; None to take the largest, with no gradient to the logits.
        temperature: of the softmax that the gradient goes through.
    """
    soft = torch.softmax((logits + (0 if noise is None else noise)) / temperature, dim=-1)
    codes = soft.argmax(-1)
    hard = torch.nn.functional.one_hot(codes, logits.shape[2]).to(logits.dtype)
    chosen = hard if noise is None else hard - soft.detach() + soft
    return torch.einsum("ngv,gvd->ngd", chosen, codebook).flatten(1), codes


def perplexities(logits: Tensor, mask: Tensor | None, eps: float = 0.0) -> tuple[Tensor, Tensor]:
    """Of the mean softmax, and of how often each is the largest: exp of the entropy, summed over groups.

    Args:
        logits: (N, G, V).
        mask: bool (N,), the frames that count; None for all.
        eps: added to what logarithms are taken of.
    """
    counted = logits if mask is None else logits[mask]
    hard = torch.nn.functional.one_hot(counted.argmax(-1), logits.shape[2]).to(logits.dtype)
    found = []
    for mean in (torch.softmax(counted, dim=-1).mean(0), hard.mean(0)):
        plogp = mean * torch.log(mean + eps) if eps else torch.xlogy(mean, mean)
        found.append(torch.exp(-plogp.sum(-1)).sum())
    return found[0], found[1]
