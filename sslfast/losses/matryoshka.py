"""Matryoshka representation learning: one loss over several prefixes of the embeddings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast._verdict import JointChecks, OptionsAround
from sslfast.losses._inputs import check_floating
from sslfast.losses.clip import CLIPLoss
from sslfast.losses.siglip import SigLIPLoss


class MatryoshkaLoss(nn.Module):
    """The weighted sum of a loss over the first ``d`` numbers of every embedding, for each ``d`` in ``dims``.

    ``sum(w * loss(*(z[..., :d] for z in embeddings), *others) for d, w in zip(dims, weights))``

    Embeddings are the arguments that are floating-point tensors of at least two dimensions: all positional ones, which
    have to be as wide as the first, and those by keyword (``ref_emb=``, ``negative_keys=``) that are as wide as the
    first, which is the first by keyword where there are no others. All other arguments (labels, a logit scale, a
    keyword of another width) go on as they are. A loss that normalises divides every prefix by its own norm;
    :class:`~sslfast.losses.CLIPLoss` and :class:`~sslfast.losses.SigLIPLoss` do so with ``normalize=True``. A
    ``queue=``, which losses take as it is, is refused, because prefixes of unit vectors are none: as ``negative_keys=``
    of :class:`~sslfast.losses.InfoNCELoss` it is normalised. Prefixes are views: nothing is copied but what the loss
    copies.

    Args:
        loss: a loss, function or module, that returns a tensor.
        dims: lengths of the prefixes, such as ``(64, 128, 256, 512)``.
        weights: a weight for each. Default: None, 1 each.

    Raises:
        TypeError: if ``loss`` is not callable, ``dims`` or ``weights`` is not a sequence, a length is not an int or a
            weight not a number; at the call, if the first argument is not a floating-point tensor, an embedding is not
            a dense one, or the loss returns no tensor, as one with ``output_dict=True``.
        ValueError: if ``dims`` is empty, a length is below 1, or there are not as many weights as lengths; at the
            call, if the embeddings are narrower than a prefix, positional ones differ in width, or a ``queue`` is
            given. Over several ranks on all of them, if one raises, or their ``dims`` or ``weights`` differ, where the
            loss is one of this package and of all ranks.

    Example:
        >>> criterion = MatryoshkaLoss(NTXentLoss(0.1), dims=(32, 64, 128))
        >>> loss = criterion(model(view0), model(view1))

    Reference: Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022.
    """

    def __init__(
        self, loss: Callable[..., Tensor], dims: Sequence[int], weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        name = "MatryoshkaLoss"
        if not callable(loss):
            raise TypeError(f"{name}: loss must be callable, got {type(loss).__name__}")
        for argument, given, expected in (("dims", dims, "ints"), ("weights", weights, "numbers")):
            optional = argument == "weights" and given is None
            if not optional and (isinstance(given, str) or not isinstance(given, Sequence)):
                raise TypeError(f"{name}: {argument} must be a sequence of {expected}, got {type(given).__name__}")
        if len(dims) == 0:
            raise ValueError(f"{name}: dims must hold at least one length, got {dims}")
        self.loss = loss
        self.dims = tuple(_check.integer(name, "dims", d, 1) for d in dims)
        weights = [1.0] * len(self.dims) if weights is None else weights
        self.weights = tuple(_check.real(name, "weights", w) for w in weights)
        if len(self.weights) != len(self.dims):
            raise ValueError(f"{name}: weights must be {len(self.dims)}, one for each of dims, got {len(self.weights)}")

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        name = "MatryoshkaLoss"
        embeddings: Any = args[0] if args else next(filter(_is_matrix, kwargs.values()), None)
        gathers = _gathers(self.loss, kwargs)
        with JointChecks(name, gathers, embeddings):
            check_floating(name, "the first argument", embeddings)
            width = embeddings.shape[-1]
            if max(self.dims) > width:
                raise ValueError(f"{name}: embeddings must be at least {max(self.dims)} wide, got {width}")
            cut = [_is_matrix(z) for z in args]
            for z in (z for z, is_embedding in zip(args, cut, strict=True) if is_embedding):
                check_floating(name, "embeddings", z)
                if z.shape[-1] != width:
                    raise ValueError(f"{name}: embeddings must have width {width}, like the first, got {z.shape[-1]}")
            if kwargs.get("queue") is not None:
                raise ValueError(f"{name}: queue must be given as negative_keys, whose prefixes are normalised")
            named = {key for key, z in kwargs.items() if _is_matrix(z) and z.shape[-1] == width}
            for key in sorted(named):
                check_floating(name, key, kwargs[key])
            if gathers and _asks_for_dict(self.loss, args, kwargs):  # found at the last call, none would hear of it
                raise TypeError(f"{name}: loss must return a tensor, got dict")
        terms: list[Tensor] = []
        with self._options_around(gathers):
            for dim, weight in zip(self.dims, self.weights, strict=True):
                found = self.loss(
                    *(_prefix(z, dim) if c else z for z, c in zip(args, cut, strict=True)),
                    **{key: _prefix(z, dim) if key in named else z for key, z in kwargs.items()},
                )
                last = len(terms) == len(self.dims) - 1  # after which the others do not wait for this rank
                with JointChecks(name, False if last else gathers, embeddings):
                    if not isinstance(found, Tensor):
                        raise TypeError(f"{name}: loss must return a tensor, got {type(found).__name__}")
                terms.append(found if weight == 1.0 else weight * found)
        return functools.reduce(torch.add, terms)

    def _options_around(self, gathers: object) -> OptionsAround:
        """What ranks whose loss is that of all have to have in common, so that each calls it as often."""
        if gathers in (False, "local"):
            return OptionsAround()
        return OptionsAround(**{"MatryoshkaLoss's dims": self.dims, "its weights": self.weights})

    def extra_repr(self) -> str:
        return f"dims={self.dims}, weights={self.weights}"


def _called(loss: object, kwargs: Mapping[str, object]) -> tuple[object, Mapping[str, object]]:
    """The loss that is called in the end, and its arguments by keyword."""
    if isinstance(loss, functools.partial):
        return _called(loss.func, {**loss.keywords, **kwargs})
    if isinstance(loss, MatryoshkaLoss):
        return _called(loss.loss, kwargs)
    return loss, kwargs


def _asks_for_dict(loss: object, args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
    loss, kwargs = _called(loss, kwargs)
    if not isinstance(loss, (CLIPLoss, SigLIPLoss)):
        return False
    asked = kwargs.get("output_dict", args[4] if len(args) > 4 else False)
    return _check.is_boolean(asked) and bool(asked)


def _gathers(loss: object, kwargs: Mapping[str, object]) -> object:
    """``gather_distributed`` of a loss of this package that is called with these arguments; of another, False.

    What else a loss exchanges with the other ranks is not known: they cannot be told in it that this one raises.
    """
    loss, kwargs = _called(loss, kwargs)
    classes = [loss] if inspect.isfunction(loss) else type(loss).__mro__
    if not any(each.__module__.startswith("sslfast.") for each in classes):
        return False
    if inspect.isfunction(loss):
        return kwargs.get("gather_distributed", False)
    return getattr(loss, "gather_distributed", getattr(loss, "world_size", 1) > 1)


def _prefix(z: Tensor, dim: int) -> Tensor:
    """The first ``dim`` numbers of every embedding; all of them are no view, whose gradient would be a copy."""
    return z if z.shape[-1] == dim else z[..., :dim]


def _is_matrix(z: object) -> bool:
    return isinstance(z, Tensor) and z.is_floating_point() and z.dim() >= 2
