"""timm's patch dropout under its own names."""

from __future__ import annotations

from torch import Tensor, nn

from sslfast import _check
from sslfast.masking._patches import kept_rows, patch_order, patches_of, prefix_tokens


def patch_dropout_forward(
    x: Tensor, prob: float, num_prefix_tokens: int, ordered: bool, training: bool
) -> tuple[Tensor, Tensor | None]:
    """Drops random patches from every row in training, and nothing otherwise.

    Like timm it keeps ``max(1, int(L * (1 - prob)))`` patches, computed in floats: of 100 at 0.8 it keeps 19.

    Args:
        x: prefix tokens and patches, shape (N, num_prefix_tokens + L, D).
        prob: share of the patches that is dropped, in [0, 1).
        num_prefix_tokens: tokens in front that always stay.
        ordered: whether what stays keeps its order.
        training: whether anything is dropped.

    Returns:
        ``(x, keep_indices)``: the prefix tokens and the kept patches; int64 (N, keep), not counting the prefix, or None
        where nothing is dropped.

    Raises:
        TypeError: ``x`` is not a tensor or a number has the wrong type.
        ValueError: a shape does not fit or a number is out of range.

    Reference: timm, ``timm.layers.patch_dropout``.
    """
    name = "patch_dropout_forward"
    if not training or prob == 0.0:
        return x, None
    prob = _dropped(name, prob)
    prefix = prefix_tokens(name, num_prefix_tokens)
    patches_of(name, "x", x, least=1 + prefix)
    patches = x.shape[1] - prefix
    keep = max(1, int(patches * (1.0 - prob)))
    order = "sorted" if ordered else "random"
    ids_keep, ids_restore, _ = patch_order(name, x, x.shape[0], patches, keep, num_prefix_tokens=prefix, order=order)
    return kept_rows(x, ids_keep, ids_restore), ids_keep[:, prefix:] - prefix


def _dropped(function: str, prob: float) -> float:
    prob = _check.probability(function, "prob", prob)
    if prob == 1.0:
        raise ValueError(f"{function}: prob must be in [0, 1), got {prob}")
    return prob


class PatchDropoutWithIndices(nn.Module):
    """``timm.layers.PatchDropoutWithIndices``: :func:`patch_dropout_forward` as a module.

    Args:
        prob: share of the patches that is dropped in training, in [0, 1). Default: 0.5.
        num_prefix_tokens: tokens in front that always stay. Default: 1.
        ordered: whether what stays keeps its order. Default: False.

    Raises:
        TypeError: a number has the wrong type.
        ValueError: a number is out of range.

    Reference: Liu et al., "PatchDropout: Economizing Vision Transformers Using Patch Dropout", WACV 2023; Li et al.,
    "Scaling Language-Image Pre-training via Masking", CVPR 2023.
    """

    def __init__(self, prob: float = 0.5, num_prefix_tokens: int = 1, ordered: bool = False) -> None:
        super().__init__()
        name = type(self).__name__
        self.prob = _dropped(name, prob)
        self.num_prefix_tokens = prefix_tokens(name, num_prefix_tokens)
        self.ordered = _check.boolean(name, "ordered", ordered)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """``(x, keep_indices)`` of :func:`patch_dropout_forward`."""
        return patch_dropout_forward(x, self.prob, self.num_prefix_tokens, self.ordered, self.training)


class PatchDropout(PatchDropoutWithIndices):
    """``timm.layers.PatchDropout``: :class:`PatchDropoutWithIndices`, of which it returns the tokens alone.

    Args:
        prob, num_prefix_tokens, ordered: as of :class:`PatchDropoutWithIndices`.

    Raises:
        TypeError, ValueError: as of :class:`PatchDropoutWithIndices`.
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The prefix tokens and the kept patches."""
        return super().forward(x)[0]
