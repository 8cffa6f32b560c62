"""The table of contrastive losses that are tested in every regime: a new loss is one entry of CASES."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import losses
from sslfast.losses import _few_pairs, _info_nce_plain
from sslfast.reference.clip import clip_loss as clip_reference
from sslfast.reference.dcl import dcl_loss as dcl_reference
from sslfast.reference.info_nce import info_nce_loss as info_nce_reference
from sslfast.reference.multi_positive_nt_xent import multi_positive_nt_xent_loss as multi_positive_reference
from sslfast.reference.nt_xent import nt_xent_loss as nt_xent_reference
from sslfast.reference.sigmoid_pairs import sigmoid_pairs
from sslfast.reference.supcon import supcon_loss as supcon_reference

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class LossCase:
    """A loss, as a function of two views of a batch.

    Attributes:
        ours: the loss of the inputs and, last, of the temperature; a scalar.
        reference: its definition, with the same arguments.
        inputs: makes the inputs from two views (N, D) and the temperature.
        unreduced: the loss of every row, ours and by definition, where there is such a reduction.
        constants: how many of the inputs, from the last, take no gradient.
        normalizes: whether the norms of the rows do not matter.
        vanishes: whether the loss goes to 0 as training goes on, and with it the gradient.
        pairwise: whether every pair has a loss of its own, so that the weights of a row sum to N, not 1; the scale is
            2 / temperature, see _biased.
        least: the fewest rows of a view that it takes.
        shares: whether a row has several positives, whose shares are rounded with the weights of a product.
        infimum: what a loss comes to as training goes on; it is the excess over that which vanishes.
        wide_constants: whether the constants are float32 where the rows are of half types.
        locks: whether the first input takes another operator where the second needs no gradient.
    """

    ours: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    inputs: Callable[[Tensor, Tensor, float], Inputs] = lambda z0, z1, temperature: (z0, z1)
    unreduced: tuple[Callable[..., Tensor], Callable[..., Tensor]] | None = None
    constants: int = 0
    normalizes: bool = True
    vanishes: bool = True
    pairwise: bool = False
    least: int = 1
    shares: bool = False
    infimum: float = 0.0
    locks: bool = False
    wide_constants: bool = False


def unit_rows(rows: int, dim: int, generator: torch.Generator) -> Tensor:
    """Rows of norm 1, in float64."""
    return F.normalize(torch.randn(rows, dim, dtype=torch.float64, generator=generator), dim=1)


def _labels(z: Tensor, classes: int) -> Tensor:
    return torch.arange(len(z) // 2, device=z.device).repeat(2) % classes


def _rows(z: Tensor) -> Tensor:
    return torch.arange(len(z), device=z.device)


def _both(z0: Tensor, z1: Tensor, temperature: float) -> Inputs:
    return (torch.cat([z0, z1]),)


def _three(z0: Tensor, z1: Tensor, temperature: float) -> Inputs:
    """A third view of every sample, across from the second: positives that training makes one."""
    norm = z1.norm(dim=1, keepdim=True)
    return (torch.cat([z0, z1, norm * F.normalize(2 * F.normalize(z0, dim=1) - z1 / norm, dim=1)]),)


def _three_and_references(z0: Tensor, z1: Tensor, temperature: float) -> Inputs:
    (rows,) = _three(z0, z1, temperature)
    return rows[len(z0) :], rows


def _samples(z: Tensor, views: int) -> Tensor:
    """Labels of any numbers, in any order, of as many rows of every sample."""
    return (7919 * torch.arange(len(z) // views, device=z.device) % 1009 - 500).repeat(views)


def _of_references(loss: Callable[..., Tensor], z: Tensor, r: Tensor, temperature: float) -> Tensor:
    return loss(z, _samples(z, 2), temperature, ref_emb=r, ref_labels=_samples(r, 3))


def _scaled(z0: Tensor, z1: Tensor, temperature: float) -> Inputs:
    return z0, z1, z0.new_tensor(1 / temperature)


def _biased(z0: Tensor, z1: Tensor, temperature: float) -> Inputs:
    """The bias lies half way between a pair and the others; with twice the scale the margins are the others'."""
    return z0, z1, z0.new_tensor(2 / temperature), z0.new_tensor(-1 / temperature)


def _queued(z0: Tensor, z1: Tensor, temperature: float) -> Inputs:
    """With a queue that is short, so that in few dimensions too it can be far from the queries."""
    generator = torch.Generator().manual_seed(len(z0))
    return z0, z1, unit_rows(1 + len(z0) // 2, z0.shape[1], generator)


def _dclw_reference(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    similarity = (F.normalize(z0, dim=1) * F.normalize(z1, dim=1)).sum(dim=1).detach()
    weights = 2 - len(z0) * torch.softmax(similarity / 0.5, dim=0)
    return dcl_reference(z0, z1, temperature, weights.repeat(2))


def _clip(z0: Tensor, z1: Tensor, scale: Tensor, temperature: float, normalize: bool = False) -> Tensor:
    return losses.clip_loss(z0, z1, scale, normalize=normalize)


def _clip_reference(z0: Tensor, z1: Tensor, scale: Tensor, temperature: float, normalize: bool = False) -> Tensor:
    return clip_reference(z0, z1, scale, normalize=normalize)


def _siglip(z0: Tensor, z1: Tensor, scale: Tensor, bias: Tensor, temperature: float, normalize: bool = False) -> Tensor:
    return losses.siglip_loss(z0, z1, scale, bias, normalize=normalize)


def _siglip_reference(
    z0: Tensor, z1: Tensor, scale: Tensor, bias: Tensor, temperature: float, normalize: bool = False
) -> Tensor:
    if normalize:
        z0, z1 = F.normalize(z0, dim=1), F.normalize(z1, dim=1)
    return sigmoid_pairs(z0, z1, torch.arange(len(z0)), scale, bias) / len(z0)


def in_tiles(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss as it is of more pairs than few_pairs and few_views take, whatever their number.

    So it is where queue_pairs is no way.
    """

    def tiled(*inputs: Any) -> Tensor:
        if torch.compiler.is_compiling():
            return loss(*inputs)
        with patch.object(_few_pairs, "_MOST", 0), patch.object(_info_nce_plain, "beside_queue", lambda query: False):
            return loss(*inputs)

    return tiled


def _labelled(
    name: str,
    ours: Callable[..., Tensor],
    reference: Callable[..., Tensor],
    shares: bool = False,
    infima: tuple[float, float] = (0.0, 0.0),
) -> dict[str, LossCase]:
    """A loss of rows and labels: with pairs, classes, three views and three references.

    ``shares`` is that of the classes, ``infima`` are those of the views and of the references.
    """
    both = (ours, reference)

    def of_labels(labels: Callable[[Tensor], Tensor]) -> list[Callable[..., Tensor]]:
        return [lambda z, t, loss=loss: loss(z, labels(z), t) for loss in both]

    references = [functools.partial(_of_references, loss) for loss in both]
    return {
        f"{name}, pairs": LossCase(*of_labels(lambda z: _labels(z, len(z))), _both),
        f"{name}, classes": LossCase(
            *of_labels(lambda z: _labels(z, 1 + len(z) // 6)), _both, vanishes=False, shares=shares
        ),
        f"{name}, three views": LossCase(*of_labels(lambda z: _samples(z, 3)), _three, infimum=infima[0]),
        f"{name}, three references": LossCase(*references, _three_and_references, infimum=infima[1]),
    }


CASES = {
    "nt_xent_loss": LossCase(losses.nt_xent_loss, nt_xent_reference),
    "dcl_loss": LossCase(losses.dcl_loss, dcl_reference, vanishes=False, least=2),
    "dclw_loss": LossCase(losses.dclw_loss, _dclw_reference, vanishes=False, least=2),
    "nt_xent_loss, in tiles": LossCase(in_tiles(losses.nt_xent_loss), nt_xent_reference),
    "dcl_loss, in tiles": LossCase(in_tiles(losses.dcl_loss), dcl_reference, vanishes=False, least=2),
    "dclw_loss, in tiles": LossCase(in_tiles(losses.dclw_loss), _dclw_reference, vanishes=False, least=2),
    **_labelled("supcon_loss", losses.supcon_loss, supcon_reference, shares=True, infima=(math.log(2), math.log(3))),
    "supcon_loss, three references of a memory": LossCase(
        functools.partial(_of_references, losses.supcon_loss),
        functools.partial(_of_references, supcon_reference),
        _three_and_references,
        constants=1,
        infimum=math.log(3),
    ),
    "supcon_loss, references": LossCase(
        lambda z, r, t: losses.supcon_loss(z, _rows(z), t, ref_emb=r, ref_labels=_rows(r)),
        lambda z, r, t: supcon_reference(z, _rows(z), t, r, _rows(r)),
    ),
    **_labelled("multi_positive_nt_xent_loss", losses.multi_positive_nt_xent_loss, multi_positive_reference),
    "clip_loss": LossCase(_clip, _clip_reference, _scaled, normalizes=False),
    "clip_loss, normalize": LossCase(
        functools.partial(_clip, normalize=True), functools.partial(_clip_reference, normalize=True), _scaled
    ),
    "clip_loss, in tiles": LossCase(
        in_tiles(functools.partial(_clip, normalize=True)), functools.partial(_clip_reference, normalize=True), _scaled
    ),
    "siglip_loss": LossCase(_siglip, _siglip_reference, _biased, normalizes=False, pairwise=True),
    "siglip_loss, normalize": LossCase(
        functools.partial(_siglip, normalize=True),
        functools.partial(_siglip_reference, normalize=True),
        _biased,
        pairwise=True,
    ),
    "siglip_loss, in tiles": LossCase(
        in_tiles(functools.partial(_siglip, normalize=True)),
        functools.partial(_siglip_reference, normalize=True),
        _biased,
        pairwise=True,
    ),
    "info_nce_loss, keys": LossCase(
        lambda q, k, t: losses.info_nce_loss(q, k, temperature=t),
        lambda q, k, t: info_nce_reference(q, k, None, t).mean(),
        unreduced=(
            lambda q, k, t: losses.info_nce_loss(q, k, temperature=t, reduction="none"),
            lambda q, k, t: info_nce_reference(q, k, None, t),
        ),
        locks=True,
    ),
    "info_nce_loss, in tiles": LossCase(
        in_tiles(lambda q, k, t: losses.info_nce_loss(q, k, temperature=t)),
        lambda q, k, t: info_nce_reference(q, k, None, t).mean(),
        locks=True,
    ),
    "info_nce_loss, queue": LossCase(
        lambda q, k, queue, t: losses.info_nce_loss(q, k, queue=queue, temperature=t),
        lambda q, k, queue, t: info_nce_reference(q, k, None, t, queue=queue).mean(),
        _queued,
        (
            lambda q, k, queue, t: losses.info_nce_loss(q, k, queue=queue, temperature=t, reduction="none"),
            lambda q, k, queue, t: info_nce_reference(q, k, None, t, queue=queue),
        ),
        constants=1,
    ),
    "info_nce_loss, queue in tiles": LossCase(
        in_tiles(lambda q, k, queue, t: losses.info_nce_loss(q, k, queue=queue, temperature=t)),
        lambda q, k, queue, t: info_nce_reference(q, k, None, t, queue=queue).mean(),
        _queued,
        constants=1,
    ),
    "info_nce_loss, float32 queue": LossCase(
        lambda q, k, queue, t: losses.info_nce_loss(q, k, queue=queue, temperature=t),
        lambda q, k, queue, t: info_nce_reference(q, k, None, t, queue=queue).mean(),
        _queued,
        constants=1,
        wide_constants=True,
    ),
}
