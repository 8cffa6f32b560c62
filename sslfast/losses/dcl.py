"""Decoupled contrastive learning: NT-Xent with the positive taken out of the denominator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast._verdict import JointChecks, spelled
from sslfast.distributed import mean_over_ranks, strategy_of
from sslfast.losses._few_pairs import few_samples, few_views
from sslfast.losses._inputs import check_pair, temperature_of, widened, without_autocast
from sslfast.losses._kept import check_memory_budget
from sslfast.losses._self import self_softmax
from sslfast.losses._self_ranks import self_softmax_over_ranks
from sslfast.losses._shown import shown_options
from sslfast.losses.mises_fisher_weights import mises_fisher_weights

WeightFunction = Callable[[Tensor, Tensor], Tensor]


class DCLLoss(nn.Module):
    """The decoupled contrastive loss as a module, with lightly's arguments; see :func:`dcl_loss`.

    Args:
        temperature: divides the cosine similarities. Default: 0.1.
        weight_fn: weights of the positives, or None. Default: None.
        gather_distributed: contrast with the samples of all ranks: False, True, ``"local"``, ``"all_gather"`` or
            ``"ring"``, see :func:`dcl_loss`. Default: False.
        memory_budget: bytes of similarities that may be kept for the gradient. Default: None, see :func:`dcl_loss`.

    Raises:
        TypeError: if ``temperature`` is not a number, ``weight_fn`` is not callable, or ``memory_budget`` is neither
            None nor an int.
        ValueError: if ``abs(temperature)`` is below 1e-8, ``gather_distributed`` is none of these, or ``memory_budget``
            is negative.

    Example:
        >>> criterion = DCLLoss(temperature=0.1)
        >>> loss = criterion(model(view0), model(view1))
    """

    _function: ClassVar[str] = "dcl_loss"

    def __init__(
        self,
        temperature: float = 0.1,
        weight_fn: WeightFunction | None = None,
        gather_distributed: bool | str = False,
        *,
        memory_budget: int | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature_of(type(self).__name__, temperature)
        self.weight_fn = _check_weight_fn(type(self).__name__, weight_fn)
        strategy_of(type(self).__name__, gather_distributed)
        self.gather_distributed = gather_distributed
        self.memory_budget = check_memory_budget(type(self).__name__, memory_budget)

    def forward(self, out0: Tensor, out1: Tensor) -> Tensor:
        """The loss of two views of a batch, (N, D) each: ``z0`` and ``z1`` of :func:`dcl_loss`."""
        options = (self.weight_fn, self.gather_distributed, self.memory_budget)
        return _loss(self._function, out0, out1, self.temperature, *options)

    def extra_repr(self) -> str:
        return shown_options(self, DCLLoss, "temperature", "gather_distributed")


class DCLWLoss(DCLLoss):
    """:class:`DCLLoss` with the weights of :func:`negative_mises_fisher_weights`; see :func:`dclw_loss`.

    Args:
        temperature: divides the cosine similarities. Default: 0.1.
        sigma: divides the similarities in the weights. Default: 0.5.
        gather_distributed: contrast with the samples of all ranks: False, True, ``"local"``, ``"all_gather"`` or
            ``"ring"``, see :func:`dcl_loss`. Default: False.
        memory_budget: bytes of similarities that may be kept for the gradient. Default: None, see :func:`dcl_loss`.

    Raises:
        TypeError: if ``temperature`` or ``sigma`` is not a number, or ``memory_budget`` is neither None nor an int.
        ValueError: if ``abs(temperature)`` or ``abs(sigma)`` is below 1e-8, ``sigma`` is not finite,
            ``gather_distributed`` is none of these, or ``memory_budget`` is negative.
    """

    _function: ClassVar[str] = "dclw_loss"

    def __init__(
        self,
        temperature: float = 0.1,
        sigma: float = 0.5,
        gather_distributed: bool | str = False,
        *,
        memory_budget: int | None = None,
    ) -> None:
        self.sigma = temperature_of("DCLWLoss", sigma, "sigma")
        super().__init__(temperature, self._weights, gather_distributed, memory_budget=memory_budget)

    def forward(self, out0: Tensor, out1: Tensor) -> Tensor:
        """The loss of two views of a batch, (N, D) each: ``z0`` and ``z1`` of :func:`dclw_loss`."""
        options = (self.weight_fn, self.gather_distributed, self.memory_budget)
        sigma = self.sigma if self.weight_fn == self._weights else None  # an attribute, which may have been set
        return _loss(self._function, out0, out1, self.temperature, *options, sigma)

    def _weights(self, z0: Tensor, z1: Tensor) -> Tensor:
        return mises_fisher_weights(self._function, z0, z1, self.sigma, self.gather_distributed)

    def extra_repr(self) -> str:
        return shown_options(self, DCLWLoss, "temperature", "sigma", "gather_distributed")


def _check_weight_fn(function: str, weight_fn: WeightFunction | None) -> WeightFunction | None:
    if weight_fn is not None and not callable(weight_fn):
        raise TypeError(f"{function}: weight_fn must be callable or None, got {type(weight_fn).__name__}")
    return weight_fn


def dcl_loss(
    z0: Tensor,
    z1: Tensor,
    temperature: float = 0.1,
    weight_fn: WeightFunction | None = None,
    *,
    gather_distributed: bool | str = False,
    memory_budget: int | None = None,
) -> Tensor:
    """Decoupled contrastive loss between two views of a batch.

    With ``z = F.normalize(torch.cat([z0, z1]), dim=1)`` and S = z z^T / temperature, the mean over the 2N views i of

    ``-w_i S_{i, p(i)} + log sum_{j != i, p(i)} exp S_ij``

    where p(i) is the other view of the same sample: NT-Xent without the positive in its denominator, and with weights.
    Value and gradients are those of lightly's ``DCLLoss``, in O(N D) memory. (Up to 256 samples on the CPU are one tile
    of similarities.)

    Args:
        z0: embeddings of the first views, (N, D) with N >= 2, floating point, any strides; need not be normalised.
        z1: embeddings of the second views, same shape and device.
        temperature: divides the similarities. Default: 0.1.
        weight_fn: takes the normalised views of a side and of the other, (N, D) each in the loss's dtype, and returns
            weights (N,) of the first side's positives; called for both sides. Over several ranks, as lightly's, it gets
            this rank's views: one that relates samples to each other has to do so over the ranks itself, as
            :func:`negative_mises_fisher_weights` can. Default: None, weights of 1.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            Every rank computes a share of half the similarities, an equal one where shards are equal. True or
            ``"all_gather"`` gathers the embeddings of all ranks; ``"ring"`` passes them round while the ranks compute,
            so that none ever holds all of them at once. False or ``"local"``: this rank's samples alone. Forward and
            backward communicate: one that only some ranks call waits for ever. Without a process group, or with one
            rank, it changes nothing. Default: False.
        memory_budget: how many bytes of similarities may be kept for the gradient, instead of being made again; 0 keeps
            none. All are kept, and a quarter of the FLOPs saved, from about 8 N^2 bytes (16 N^2 for float64, 4 N^2 for
            bfloat16). On a GPU and over several ranks none are kept, whatever it says, and up to 256 samples on the
            CPU, whose gradient is made with the loss, need none. Default: None, 2 MiB or 8 bytes (16 for float64) for
            every number of z0 and z1, which is O(N D).

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if z0 or z1 is not a floating-point tensor, or is float64 on a GPU, ``temperature`` is not a number,
            ``weight_fn`` is not callable, or ``memory_budget`` is neither None nor an int.
        ValueError: if z0 is not (N, D) with N, D >= 1, z1 differs in shape or device, ``abs(temperature)`` is below
            1e-8, ``gather_distributed`` is none of these, fewer than 2 samples come together, so that there are no
            negatives, ``weight_fn`` returns another shape than (N,), ``memory_budget`` is negative, or D, a dtype or an
            option is not the same on every rank. Where one of several ranks raises, all do: the others a ValueError
            that names it.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Yeh et al., "Decoupled Contrastive Learning", ECCV 2022.
    """
    return _loss("dcl_loss", z0, z1, temperature, weight_fn, gather_distributed, memory_budget)


def dclw_loss(
    z0: Tensor,
    z1: Tensor,
    temperature: float = 0.1,
    sigma: float = 0.5,
    *,
    gather_distributed: bool | str = False,
    memory_budget: int | None = None,
) -> Tensor:
    """:func:`dcl_loss` with the weights of :func:`negative_mises_fisher_weights`: pairs far apart count more.

    Value and gradients are those of lightly's ``DCLWLoss``, in O(N D) memory. The weights are constants.

    Args:
        z0: embeddings of the first views, (N, D) with N >= 2, floating point, any strides; need not be normalised.
        z1: embeddings of the second views, same shape and device.
        temperature: divides the similarities. Default: 0.1.
        sigma: divides the similarities in the weights. Default: 0.5.
        gather_distributed: see :func:`dcl_loss`; the weights are those of all ranks, too. Default: False.
        memory_budget: bytes of similarities that may be kept for the gradient. Default: None, see :func:`dcl_loss`.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: as of :func:`dcl_loss`, or if ``sigma`` is not a number.
        ValueError: as of :func:`dcl_loss`, or if ``abs(sigma)`` is below 1e-8 or not finite.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Yeh et al., "Decoupled Contrastive Learning", ECCV 2022.
    """
    name = "dclw_loss"
    weight_fn = functools.partial(mises_fisher_weights, name, sigma=sigma, gather_distributed=gather_distributed)
    return _loss(name, z0, z1, temperature, weight_fn, gather_distributed, memory_budget, sigma)


def _loss(
    name: str,
    z0: Tensor,
    z1: Tensor,
    temperature: float,
    weight_fn: WeightFunction | None,
    gather_distributed: bool | str,
    memory_budget: int | None,
    sigma: float | None = None,
) -> Tensor:
    """:func:`dcl_loss` of the function that errors name.

    ``sigma`` is that of ``weight_fn``, where it gives :func:`negative_mises_fisher_weights`.
    """
    with JointChecks(name, gather_distributed, z0):
        strategy = strategy_of(name, gather_distributed)
        check_pair(name, "z0", z0, "z1", z1)
        temperature = temperature_of(name, temperature)
        scale = 1.0 / temperature
        _check_weight_fn(name, weight_fn)
        budget = check_memory_budget(name, memory_budget)
        if len(z0) < 2 and strategy == "local":
            raise ValueError(f"{name}: z0 must have at least 2 rows, got {len(z0)}")
    weights: Tensor | None = None
    few = strategy == "local" and few_samples(z0, z1)
    if few and sigma is not None:  # the operator makes the weights, too
        return few_views(name, z0, z1, scale, decoupled=True, sigma=temperature_of(name, sigma, "sigma"))
    if weight_fn is not None:
        with JointChecks(name, gather_distributed, z0):
            weights = _weights_of(name, weight_fn, z0, z1)
    if few:
        return few_views(name, z0, z1, scale, decoupled=True, weights=weights)
    count = len(z0)
    with without_autocast(z0):  # which would not let float16 be put together on a CPU
        z = torch.cat([z0, z1])
    positives = torch.arange(2 * count, device=z.device).roll(count)
    if strategy == "local":
        lse, positive_logits = self_softmax(name, z, scale, positives, memory_budget=budget)
    else:
        weighted = "None" if weight_fn is None else "a function"
        options = spelled(gather_distributed=strategy, temperature=temperature, z0=z0, z1=z1) | {"weight_fn": weighted}
        lse, positive_logits = self_softmax_over_ranks(name, z, scale, positives, strategy, options)
    if weights is not None:
        positive_logits = weights * positive_logits
    losses = lse - positive_logits
    return losses.mean() if strategy == "local" else mean_over_ranks(losses)


def _weights_of(function: str, weight_fn: WeightFunction, z0: Tensor, z1: Tensor) -> Tensor:
    """(2 N,), what the function makes of both sides, in the loss's dtype."""
    z0, z1 = (F.normalize(side, dim=1) for side in widened(z0, z1))  # half types would round the weights
    weights = [weight_fn(z0, z1), weight_fn(z1, z0)]
    for w in weights:
        if not isinstance(w, Tensor) or w.shape != z0.shape[:1]:
            got = tuple(w.shape) if isinstance(w, Tensor) else type(w).__name__
            raise ValueError(f"{function}: weight_fn must return shape ({len(z0)},), got {got}")
    return torch.cat(weights).to(z0.dtype)
