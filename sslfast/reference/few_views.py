"""Losses of two views of every sample among all views, by definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.reference.similarity_softmax import similarity_softmax


def few_views(
    z0: Tensor, z1: Tensor, weights: Tensor | None, scale: float, sigma: float | None, decoupled: bool
) -> Tensor:
    """The mean of the losses of the 2N views, each of which has the other view of its sample for a positive.

    Args:
        z0: (N, D), any floating dtype.
        z1: (N, D).
        weights: (2N,), of the positives' logits, where ``decoupled``, or None for 1 each.
        scale: factor of the cosine similarities.
        sigma: where ``decoupled`` without ``weights``, these are ``2 - N softmax(cos_i / sigma)``, constants, with
            cos_i the similarity of the views of sample i; None for 1 each.
        decoupled: the log-sum-exp over the other views but the positive, less the positive's weighted logit; else the
            cross-entropy of every view picking the positive among all others.

    Returns:
        Scalar.
    """
    count = len(z0)
    views = F.normalize(torch.cat([z0, z1]), dim=1)
    positives = torch.arange(2 * count, device=views.device).roll(count)
    lse, positive = similarity_softmax(views, positives, scale)
    if not decoupled:
        return -F.logsigmoid(positive - lse).mean()  # exact where the loss is tiny, too
    if sigma is not None:
        similarity = (views[:count] * views[count:]).sum(dim=1).detach()
        weights = (2 - count * torch.softmax(similarity / sigma, dim=0)).repeat(2)
    return (lse - (positive if weights is None else weights * positive)).mean()
