"""What SigLIP leaves out by a margin, and what hard negatives of each image add to its loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast._autograd import first_order_only
from sslfast.distributed import mean_gradient_over_ranks, mean_over_ranks
from sslfast.losses._hard import own_similarities


def hard_mean(
    function: str,
    rows: Tensor,
    keys: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    limits: Tensor | None,
    smoothing: float,
    normalize: bool,
    strategy: str,
) -> Tensor:
    """What hard negatives of each row add to a mean over rows, of all ranks where there are several.

    Args:
        function: the name that errors begin with.
        rows: (N, D), in the dtype of accumulation, normalised if the keys are.
        keys: (N, K, D), checked by the caller.
        scale: factor of the similarities, a tensor of one number, of the rows' dtype.
        bias: added to them, another.
        limits: (N,), keys whose similarity is above that of their row are left out; or None.
        smoothing: share e of the targets that is spread over both labels: theirs is e / 2.
        normalize: divide keys by their norms first.
        strategy: ``"local"``, or how the ranks share the loss.
    """
    similarities = own_similarities(function, rows, keys, normalize)
    if strategy != "local":  # a rank's own negatives are its part of what scale and bias do
        scale, bias = mean_gradient_over_ranks(scale), mean_gradient_over_ranks(bias)
        return mean_over_ranks(_NegativeLosses.apply(function, similarities, scale, bias, limits, smoothing, None))
    mean: Tensor = _NegativeLosses.apply(function, similarities, scale, bias, limits, smoothing, 1.0 / len(rows))
    return mean


class _NegativeLosses(torch.autograd.Function):
    """A share of the sum of the losses of negatives, or their sums over each row; made with their slopes, as a few
    negatives wait for calls.
    """

    @staticmethod
    def forward(ctx, function, similarities, scale, bias, limits, smoothing, share):  # type: ignore[no-untyped-def]
        logits = torch.addcmul(bias, similarities, scale)
        losses = F.softplus(logits, threshold=50.0)
        slopes = torch.sigmoid(logits)
        if smoothing > 0.0:
            losses -= smoothing / 2 * logits
            slopes -= smoothing / 2
        if limits is not None:
            left_out = similarities > limits.unsqueeze(1)
            losses.masked_fill_(left_out, 0.0)
            slopes.masked_fill_(left_out, 0.0)
        ctx.save_for_backward(similarities, scale, bias, slopes)
        ctx.function, ctx.share = function, share
        losses.add_(logits, alpha=0.0)  # an infinite similarity would count as a perfect negative, or be left out
        return losses.sum(dim=1) if share is None else losses.sum().mul_(share)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        similarities, scale, bias, slopes = ctx.saved_tensors
        _, need_similarities, need_scale, need_bias, *_ = ctx.needs_input_grad
        with torch.no_grad():
            of_logits = slopes * (grad.unsqueeze(1) if ctx.share is None else grad * ctx.share)
            grads = (
                of_logits * scale if need_similarities else None,
                (of_logits * similarities).sum().reshape(scale.shape) if need_scale else None,
                of_logits.sum().reshape(bias.shape) if need_bias else None,
            )
        inputs = (similarities, scale, bias, grad)
        found = (None if g is None else first_order_only(ctx.function, g, *inputs) for g in grads)
        return None, *found, None, None, None
