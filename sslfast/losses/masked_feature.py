"""Features of a teacher, predicted where the student's input was masked: data2vec and I-JEPA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslfast import ops
from sslfast.losses._class_inputs import check_num_items
from sslfast.losses._feature_inputs import KINDS, blocks_of, check_options, layers_of
from sslfast.losses._inputs import check_floating
from sslfast.losses._patch_inputs import PatchOptions
from sslfast.losses._patch_places import Places, Targets, check_places, flat_ids
from sslfast.losses._patches import patch_losses
from sslfast.losses._shown import shown_options

_LAYER_NORM = 3  # PatchNorm::kLayer


class MaskedFeatureLoss(nn.Module):
    """:func:`masked_feature_loss` as a module.

    Args:
        kind: ``"smooth_l1"``, ``"l1"`` or ``"mse"``. Default: ``"smooth_l1"``.
        beta: where ``"smooth_l1"`` becomes linear. Default: 1.
        norm_layers: None, ``"layer"`` or ``"instance"``. Default: None.
        norm_targets: None, ``"layer"`` or ``"instance"``. Default: None.
        scale: of the sum over features; None: 1 / D. Default: None.
        eps: of the norms. Default: 1e-5.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.

    Raises:
        TypeError: if a number is none.
        ValueError: if one is out of range, or a word is unknown.

    Example:
        >>> criterion = MaskedFeatureLoss(norm_targets="layer")  # I-JEPA's
        >>> loss = criterion(predictor(context, masks_pred), teacher(images), ids=masks_pred)
    """

    def __init__(
        self,
        kind: str = "smooth_l1",
        beta: float = 1.0,
        *,
        norm_layers: str | None = None,
        norm_targets: str | None = None,
        scale: float | None = None,
        eps: float = 1e-5,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_options("MaskedFeatureLoss", kind, beta, norm_layers, norm_targets, scale, eps, reduction)
        self.kind = kind
        self.beta = beta
        self.norm_layers = norm_layers
        self.norm_targets = norm_targets
        self.scale = scale
        self.eps = eps
        self.reduction = reduction

    def forward(
        self,
        pred: Tensor,
        targets: Tensor | Sequence[Tensor],
        mask: Tensor | None = None,
        *,
        ids: Tensor | Sequence[Tensor] | None = None,
        num_items: float | Tensor | None = None,
    ) -> Tensor:
        return masked_feature_loss(
            pred,
            targets,
            mask,
            ids=ids,
            kind=self.kind,
            beta=self.beta,
            norm_layers=self.norm_layers,
            norm_targets=self.norm_targets,
            scale=self.scale,
            eps=self.eps,
            reduction=self.reduction,
            num_items=num_items,
        )

    def extra_repr(self) -> str:
        return shown_options(self, MaskedFeatureLoss, "kind", "beta", "norm_layers", "norm_targets", "scale")


def masked_feature_loss(
    pred: Tensor,
    targets: Tensor | Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    ids: Tensor | Sequence[Tensor] | None = None,
    kind: str = "smooth_l1",
    beta: float = 1.0,
    norm_layers: str | None = None,
    norm_targets: str | None = None,
    scale: float | None = None,
    eps: float = 1e-5,
    reduction: str = "mean",
    num_items: float | Tensor | None = None,
) -> Tensor:
    """Regression of a teacher's features at masked tokens.

    With ``y = sum(norm(layer) for layer in targets) / len(targets)``, normalised again: the mean over masked tokens of
    ``scale * F.smooth_l1_loss(pred, y[mask], beta=beta, reduction="none").sum(-1)``. Of the targets nothing is read but
    the masked tokens (and for instance norms, whose statistics are those of all tokens, each layer once more): layers
    are gathered, normalised and averaged in one pass, and the loss and its gradient are made in another.

    - I-JEPA: ``masked_feature_loss(z, teacher_tokens, ids=masks_pred, norm_targets="layer")``.
    - data2vec: ``masked_feature_loss(x, teacher_layers[-8:], ids=indices, kind="mse", norm_layers="instance",
      norm_targets="layer", scale=D ** -0.5)``; its ``loss_beta`` of 0 is ``"mse"``, others are ``"smooth_l1"`` with
      ``beta``. fairseq's layers (T, B, C) are ``layer.transpose(0, 1)``, which copies nothing.
    - V-JEPA: ``kind="l1"``.

    The gradient of a float32 or float64 prediction is written in the forward pass; that of a half type is made in the
    backward pass, rounded once. Targets are constants.

    Args:
        pred: (N, L, D), one prediction per token, or one per id, floating point; for ``ids`` in blocks (B K N, R, D),
            as I-JEPA's predictor gives them: block after block, for each of K context blocks.
        targets: (N, L, D), the teacher's last layer, or a sequence of up to 48 such layers of one dtype, floating
            point, any strides.
        mask: bool (N, L), True where the token counts. Default: None, then ``ids``.
        ids: int64, which tokens count, instead of a mask. (N, R): of every row; with ``pred`` (N, R, D) row r predicts
            token ``ids[n, r]``, so also where R is L. (R,): flat positions n L + l, as
            :func:`sslfast.masking.mask_indices` gives them; with ``pred`` (R, D) row r predicts that token. A list of
            B blocks (N, R), I-JEPA's ``masks_pred``. -1 is none. Where ``pred`` has all tokens each may be named once.
            Default: None, then ``mask``.
        kind: ``"smooth_l1"``, ``"l1"`` or ``"mse"``, torch's. Default: ``"smooth_l1"``.
        beta: where ``"smooth_l1"`` becomes linear, at least 0. Default: 1.
        norm_layers: what is done to each layer: None; ``"layer"``, a layer norm over D; ``"instance"``, an instance
            norm over the L tokens of a feature. Neither has weights. Default: None.
        norm_targets: the same, done to the mean of the layers; for ``"instance"`` it is made of all tokens. Default:
            None.
        scale: what the sum over D is multiplied by. Default: None, 1 / D.
        eps: of the norms, positive. Default: 1e-5.
        reduction: ``"mean"`` over the tokens that count, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        num_items: what ``"mean"`` is divided by instead of the number of tokens that count, for gradient accumulation:
            those of all micro-batches. A number above 0, or a tensor of one, which is not waited for. Default: None.

    Returns:
        The loss, float32, or float64 if ``pred`` or a target is: a scalar, or for ``"none"`` of the shape of ``ids``
        (of ``pred`` without D, for blocks), or (N, L), 0 where the token does not count. Where nothing is masked, mean
        and sum are 0 with gradients of 0.

    Raises:
        TypeError: if a tensor or a number has not the type that is said above.
        ValueError: if a shape, a device, a number or a word does not fit, both or none of ``mask`` and ``ids`` are
            given, an id is out of range (on the CPU; on a GPU, which is not waited for, the loss and its gradients are
            then NaN) or comes twice where ``pred`` has all tokens (on the CPU; on a GPU it counts once), targets
            require a gradient, or ``num_items`` are given without ``"mean"``.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Baevski et al., "data2vec", ICML 2022; Assran et al., "Self-Supervised Learning from Images with a
    Joint-Embedding Predictive Architecture", CVPR 2023.
    """
    name = "masked_feature_loss"
    check_floating(name, "pred", pred)
    beta, eps, scale = check_options(name, kind, beta, norm_layers, norm_targets, scale, eps, reduction)
    check_num_items(name, num_items, reduction, pred)
    layers = layers_of(name, targets)
    rows, length, width = layers[0].shape
    shape, listed = None, ids if isinstance(ids, Tensor) else None
    if ids is not None and not isinstance(ids, Tensor):
        shape = tuple(pred.shape[:-1])
        pred, listed = blocks_of(name, pred, ids, rows, length)
    described = Targets("targets", "tokens", layers[0].device, rows, length, width, (length,), None)
    places = check_places(name, pred, described, mask, listed)
    dtypes = {layer.dtype for layer in layers}
    if torch.float64 in dtypes or pred.dtype == torch.float64:
        whole = len(layers) > 1 or norm_layers is not None or norm_targets == "instance"
        layers = [layer.double() for layer in layers] if whole else layers
        places = places._replace(pred=places.pred.double())
    norm = 0
    if len(layers) == 1 and "instance" not in (norm_layers, norm_targets) and not (norm_layers and norm_targets):
        images = layers[0][:, None, None]
        norm = _LAYER_NORM if norm_layers or norm_targets else 0
    else:
        places, images = _averaged(layers, places, norm_layers, norm_targets, eps)
    code = KINDS.index("l1" if kind == "smooth_l1" and beta == 0.0 else kind)
    factor = 1.0 if scale is None else scale * width
    options = PatchOptions((1, 1, width), 0, places.flat, norm, code, beta, eps, [], [], reduction, factor)
    found = patch_losses(name, places, images, options, num_items)
    return found if shape is None or reduction != "none" else found.view(shape)


def _averaged(
    layers: list[Tensor], places: Places, norm_layers: str | None, norm_targets: str | None, eps: float
) -> tuple[Places, Tensor]:
    """Targets of several layers where a prediction asks for them, as images of one row each, and the new places."""
    length = layers[0].shape[1]
    if places.mask is not None:
        positions = torch.arange(places.mask.numel(), device=places.mask.device).view(places.mask.shape)
        ids = torch.where(places.mask, positions, -1)
    else:
        assert places.ids is not None
        ids = places.ids if places.flat else flat_ids(places.ids, length)
    if norm_targets == "instance":  # the norm of the mean is that of a single layer
        if len(layers) > 1 or norm_layers is not None:
            every = torch.arange(layers[0].shape[0] * length, device=ids.device)
            layers = [_mean_of(layers, every, norm_layers, None, eps).view(layers[0].shape)]
        norm_layers, norm_targets = "instance", None
    found = _mean_of(layers, ids.flatten(), norm_layers, norm_targets, eps)
    counts = places.mask if places.mask is not None else ids != -1
    return places._replace(mask=counts, ids=None, flat=False), found.view(
        ids.shape[0], 1, 1, ids.shape[1], found.shape[1]
    )


def _mean_of(
    layers: list[Tensor], ids: Tensor, norm_layers: str | None, norm_targets: str | None, eps: float
) -> Tensor:
    """(R, D): the mean of the layers at flat positions, 0 at -1; ``norm_targets`` is no instance norm."""
    means = scales = None
    if norm_layers == "instance":
        means, scales = ops.feature_moments(layers, eps)
    found: Tensor = ops.feature_targets(
        layers, ids, means, scales, norm_layers == "layer", norm_targets == "layer", eps
    )
    return found
